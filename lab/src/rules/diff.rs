//! What differs between the rules meant and the rules found.

use std::collections::BTreeSet;
use std::fmt;

use super::align::common;
use super::id::{RuleId, Table};
use super::matches::RuleSpec;
use super::render::spec_text;
use super::set::{RuleSet, TableRules};

/// One difference. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A user chain that should be there is not.
    MissingChain {
        /// Its table.
        table: Table,
        /// Its name.
        chain: String,
    },
    /// A user chain is there and should not be.
    ExtraChain {
        /// Its table.
        table: Table,
        /// Its name.
        chain: String,
    },
    /// A rule that should be there is not.
    Missing {
        /// Its place in the rules meant.
        rule: RuleId,
        /// Its text.
        text: String,
    },
    /// A rule is there and should not be.
    Extra {
        /// Its place in the rules found.
        rule: RuleId,
        /// Its text.
        text: String,
    },
    /// A rule stands in another order among the others of its chain.
    Moved {
        /// Its place in the rules meant.
        meant: RuleId,
        /// Its place in the rules found.
        found: RuleId,
        /// Its text.
        text: String,
    },
}

impl Difference {
    /// Whether the kernel's own spelling may be all that it is. Where the rules at one place are both not modelled, their
    /// words can't be compared, and a difference of words proves nothing.
    pub fn is_only_spelling(&self, meant: &RuleSet, found: &RuleSet) -> bool {
        let (Self::Missing { rule, .. } | Self::Extra { rule, .. }) = self else {
            return false;
        };
        let unmodelled = |set: &RuleSet| set.rule(rule).is_some_and(|r| !r.spec.is_modelled());
        unmodelled(meant) && unmodelled(found)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingChain { table, chain } => write!(f, "missing chain {table} {chain}"),
            Self::ExtraChain { table, chain } => write!(f, "extra chain {table} {chain}"),
            Self::Missing { rule, text } => write!(f, "missing {rule}: {text}"),
            Self::Extra { rule, text } => write!(f, "extra {rule}: {text}"),
            Self::Moved { meant, found, text } => {
                write!(f, "moved {meant} to {}: {text}", found.ordinal)
            }
        }
    }
}

/// Compares rules, not text, in the tables named.
///
/// Counters, policies and the order of chains do not count. Neither does a built-in chain only one side lists:
/// which ones a dump lists depends on the backend. Of each chain, what follows the longest common subsequence is in
/// place; the rest is moved, missing or extra.
pub fn diff(meant: &RuleSet, found: &RuleSet, tables: &[Table]) -> Vec<Difference> {
    tables
        .iter()
        .flat_map(|table| table_diff(meant, found, *table))
        .collect()
}

fn table_diff(meant: &RuleSet, found: &RuleSet, table: Table) -> Vec<Difference> {
    let mut names = chain_names(meant, table);
    let extra = chain_names(found, table)
        .into_iter()
        .filter(|name| !names.contains(name));
    let extra: Vec<&str> = extra.collect();
    names.extend(extra);
    let mut differences = Vec::new();
    for name in names {
        let chain = || name.to_owned();
        match (
            is_user_chain(meant, table, name),
            is_user_chain(found, table, name),
        ) {
            (true, false) => differences.push(Difference::MissingChain {
                table,
                chain: chain(),
            }),
            (false, true) => differences.push(Difference::ExtraChain {
                table,
                chain: chain(),
            }),
            _ => {}
        }
        differences.extend(chain_diff(meant, found, table, name));
    }
    differences
}

fn is_user_chain(set: &RuleSet, table: Table, name: &str) -> bool {
    let chain = set.tables.get(&table).and_then(|rules| rules.chain(name));
    chain.is_some_and(|chain| chain.policy.is_none())
}

fn chain_diff(meant: &RuleSet, found: &RuleSet, table: Table, chain: &str) -> Vec<Difference> {
    let (wanted, present) = (specs(meant, table, chain), specs(found, table, chain));
    let in_place = common(&wanted, &present);
    let left = |all: &[&RuleSpec], kept: BTreeSet<usize>| {
        (0..all.len()).filter(|it| !kept.contains(it)).collect()
    };
    let missing: Vec<usize> = left(&wanted, in_place.iter().map(|(here, _)| *here).collect());
    let mut extra: Vec<usize> = left(&present, in_place.iter().map(|(_, there)| *there).collect());
    let id = |set: &RuleSet, index: usize| RuleId::new(set.family, table, chain, ordinal(index));
    let mut differences = Vec::new();
    for index in missing {
        let text = spec_text(chain, wanted[index]);
        let elsewhere = extra
            .iter()
            .position(|other| present[*other] == wanted[index]);
        differences.push(match elsewhere.map(|at| extra.remove(at)) {
            Some(other) => Difference::Moved {
                meant: id(meant, index),
                found: id(found, other),
                text,
            },
            None => Difference::Missing {
                rule: id(meant, index),
                text,
            },
        });
    }
    differences.extend(extra.into_iter().map(|index| Difference::Extra {
        rule: id(found, index),
        text: spec_text(chain, present[index]),
    }));
    differences
}

fn chain_names(set: &RuleSet, table: Table) -> Vec<&str> {
    let chains = set
        .tables
        .get(&table)
        .map(TableRules::chains)
        .unwrap_or_default();
    chains.iter().map(|chain| chain.name.as_str()).collect()
}

pub(super) fn specs<'a>(set: &'a RuleSet, table: Table, chain: &str) -> Vec<&'a RuleSpec> {
    let chain = set.tables.get(&table).and_then(|rules| rules.chain(chain));
    chain.map_or_else(Vec::new, |chain| {
        chain.rules.iter().map(|rule| &rule.spec).collect()
    })
}

pub(super) fn ordinal(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}
