//! Conservation: what enters a chain must come out of it, rule by rule.
//!
//! KERNEL-FACTS: it holds in the listing of a production pod, e.g. ISTIO_INBOUND 85820 + 1 + 52 = 85873.

use std::fmt;

use super::counters::CounterDelta;
use super::fate::{Fate, Shape};
use super::id::{RuleId, Table};
use super::rounded::CountRange;
use super::set::{Chain, RuleSet};

/// A rule that counted other than the rules around it allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// The rule.
    pub rule: RuleId,
    /// Packets that entered its chain, by the rules that jump to it.
    pub entered: CountRange,
    /// The fewest packets it can have counted.
    pub at_least: u64,
    /// The most packets it can have counted.
    pub at_most: u64,
    /// What it counted.
    pub counted: CountRange,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            entered,
            at_least,
            at_most,
            counted,
        } = self;
        write!(
            f,
            "{rule} counted {counted} of the {entered} packets that entered {}, expected ",
            rule.chain
        )?;
        match at_least == at_most {
            true => write!(f, "{at_most}"),
            false => write!(f, "{at_least} to {at_most}"),
        }
    }
}

/// Checks every user chain of every table; empty when all is accounted for.
///
/// The packets left for a rule are those that entered less those decided before it. A rule counts no more than are
/// left, and a rule that matches everything that can enter the chain counts exactly them. A jump decides as many
/// packets as do not come back from the chain it enters: all, when that chain cannot return; none, when it holds
/// nothing that decides; else an unknown number in between.
///
/// The built-in chains are not checked: what enters them is not counted by a rule.
pub fn conservation(rules: &RuleSet, delta: &CounterDelta) -> Vec<Imbalance> {
    let unknown = CountRange {
        least: 0,
        most: u64::MAX,
    };
    let counted = |rule: &RuleId| match delta.get(rule) {
        Some(counter) => CountRange::exactly(counter.packets),
        // A rule of nft that has no counter.
        None => unknown,
    };
    let tables = rules.tables.keys();
    tables
        .flat_map(|table| balance(rules, *table, &counted))
        .collect()
}

/// As [`conservation`], of counts that may be rounded: a rule is reported when no counts in the ranges add up.
pub fn balance(
    rules: &RuleSet,
    table: Table,
    counted: &dyn Fn(&RuleId) -> CountRange,
) -> Vec<Imbalance> {
    let Some(chains) = rules.tables.get(&table) else {
        return Vec::new();
    };
    let account = Account {
        rules,
        counted,
        shape: Shape::new(chains),
        name: table,
    };
    let user = chains
        .chains()
        .iter()
        .filter(|chain| chain.policy.is_none());
    user.filter_map(|chain| account.check(chain)).collect()
}

struct Account<'a> {
    rules: &'a RuleSet,
    counted: &'a dyn Fn(&RuleId) -> CountRange,
    shape: Shape<'a>,
    name: Table,
}

impl Account<'_> {
    /// The first rule of a chain that does not add up.
    fn check(&self, chain: &Chain) -> Option<Imbalance> {
        let callers = self.rules.rules(self.name);
        let callers = callers.filter(|(_, rule)| rule.spec.target.chain() == Some(&chain.name));
        let counts = callers.map(|(id, _)| (self.counted)(&id));
        let entered = counts.fold(CountRange::exactly(0), CountRange::plus);
        let protocol = self.shape.protocol(&chain.name);
        let CountRange {
            mut least,
            mut most,
        } = entered;
        for (ordinal, rule) in (1..).zip(&chain.rules) {
            let id = RuleId::new(self.rules.family, self.name, &chain.name, ordinal);
            let counted = (self.counted)(&id);
            let at_least = if rule.spec.matches.is_catch_all(protocol) {
                least
            } else {
                0
            };
            if counted.most < at_least || counted.least > most {
                return Some(Imbalance {
                    rule: id,
                    entered,
                    at_least,
                    at_most: most,
                    counted,
                });
            }
            let fate = self.shape.fate(&rule.spec);
            if fate != Fate::ComesBack {
                least = least.saturating_sub(counted.most);
            }
            if fate == Fate::Decided {
                most -= counted.least;
            }
        }
        None
    }
}
