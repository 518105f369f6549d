//! Conservation: what enters a chain must come out of it, rule by rule.
//!
//! KERNEL-FACTS: it holds in the listing of a production pod, e.g. ISTIO_INBOUND 85820 + 1 + 52 = 85873.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::counters::CounterDelta;
use super::id::{RuleId, Table};
use super::matches::RuleSpec;
use super::set::{Chain, RuleSet, TableRules};
use super::target::Flow;
use super::values::Protocol;

/// A rule that counted other than the rules around it allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// The rule.
    pub rule: RuleId,
    /// Packets that entered its chain, by the rules that jump to it.
    pub entered: u64,
    /// The fewest packets it can have counted.
    pub at_least: u64,
    /// The most packets it can have counted.
    pub at_most: u64,
    /// What it counted.
    pub counted: u64,
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
    let mut found = Vec::new();
    for (name, table) in &rules.tables {
        let account = Account {
            rules,
            delta,
            shape: Shape::new(table),
            name: *name,
        };
        let user = table.chains().iter().filter(|chain| chain.policy.is_none());
        found.extend(user.filter_map(|chain| account.check(chain)));
    }
    found
}

struct Account<'a> {
    rules: &'a RuleSet,
    delta: &'a CounterDelta,
    shape: Shape<'a>,
    name: Table,
}

impl Account<'_> {
    fn counted(&self, rule: &RuleId) -> u64 {
        self.delta.get(rule).map_or(0, |it| it.packets)
    }

    /// The first rule of a chain that does not add up.
    fn check(&self, chain: &Chain) -> Option<Imbalance> {
        let callers = self.rules.rules(self.name);
        let callers = callers.filter(|(_, rule)| rule.spec.target.chain() == Some(&chain.name));
        let entered = callers.fold(0_u64, |sum, (id, _)| sum.saturating_add(self.counted(&id)));
        let protocol = self.shape.protocol(&chain.name);
        let (mut least, mut most) = (entered, entered);
        for (ordinal, rule) in (1..).zip(&chain.rules) {
            let id = RuleId::new(self.rules.family, self.name, &chain.name, ordinal);
            let counted = self.counted(&id);
            let at_least = if rule.spec.matches.is_catch_all(protocol) {
                least
            } else {
                0
            };
            if !(at_least..=most).contains(&counted) {
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
                least = least.saturating_sub(counted);
            }
            if fate == Fate::Decided {
                most -= counted;
            }
        }
        None
    }
}

/// What becomes of the packets a rule matched, seen from its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All go on to the next rule.
    ComesBack,
    /// None does.
    Decided,
    /// Some may.
    Either,
}

/// What the rules alone say about the chains of a table.
struct Shape<'a> {
    chains: BTreeMap<&'a str, &'a Chain>,
    /// The one protocol that can enter a chain; absent when any can.
    protocols: BTreeMap<&'a str, Protocol>,
    /// What becomes of a packet that enters a chain by a jump.
    fates: BTreeMap<&'a str, Fate>,
}

impl<'a> Shape<'a> {
    fn new(table: &'a TableRules) -> Self {
        let chains = table
            .chains()
            .iter()
            .map(|chain| (chain.name.as_str(), chain))
            .collect();
        let mut shape = Self {
            chains,
            protocols: BTreeMap::new(),
            fates: BTreeMap::new(),
        };
        // A chain is at most as many jumps away from a built-in one as there are chains. What a loop leaves open
        // stays open, and open means unknown. The kernel accepts no loops.
        let mut callers: BTreeMap<&str, Vec<(&'a str, &'a RuleSpec)>> = BTreeMap::new();
        for (chain, rule) in table
            .chains()
            .iter()
            .flat_map(|it| it.rules.iter().map(move |rule| (it, rule)))
        {
            if let Some(entered) = rule.spec.target.chain() {
                callers
                    .entry(entered)
                    .or_default()
                    .push((&chain.name, &rule.spec));
            }
        }
        for _ in table.chains() {
            for (entered, callers) in &callers {
                let protocols = callers
                    .iter()
                    .map(|(chain, spec)| match spec.matches.protocol {
                        Some(_) => spec.matches.only_protocol(),
                        None => shape.protocol(chain),
                    });
                let distinct: BTreeSet<Option<Protocol>> = protocols.collect();
                if let (1, Some(Some(protocol))) = (distinct.len(), distinct.first()) {
                    shape.protocols.insert(entered, *protocol);
                }
            }
        }
        for _ in table.chains() {
            for chain in table.chains() {
                let fate = shape.chain_fate(chain);
                shape.fates.insert(&chain.name, fate);
            }
        }
        shape
    }

    fn protocol(&self, chain: &str) -> Option<Protocol> {
        self.protocols.get(chain).copied()
    }

    fn chain_fate(&self, chain: &Chain) -> Fate {
        let protocol = self.protocol(&chain.name);
        let (mut may_return, mut may_decide) = (false, false);
        for rule in &chain.rules {
            let leaves = match rule.spec.target.flow() {
                Flow::Returns => {
                    may_return = true;
                    true
                }
                _ => {
                    let fate = self.fate(&rule.spec);
                    may_decide |= fate != Fate::ComesBack;
                    // A goto's chain returns to the caller of this one.
                    let goto = matches!(rule.spec.target.flow(), Flow::Leaves(_));
                    may_return |=
                        goto && self.entry_fate(rule.spec.target.chain()) != Fate::Decided;
                    fate == Fate::Decided
                }
            };
            if leaves && rule.spec.matches.is_catch_all(protocol) {
                return Self::sum(may_return, may_decide);
            }
        }
        Self::sum(true, may_decide)
    }

    fn sum(may_return: bool, may_decide: bool) -> Fate {
        match (may_return, may_decide) {
            (true, false) => Fate::ComesBack,
            (false, _) => Fate::Decided,
            (true, true) => Fate::Either,
        }
    }

    fn entry_fate(&self, chain: Option<&str>) -> Fate {
        let fate = chain
            .filter(|name| self.chains.contains_key(name))
            .and_then(|name| self.fates.get(name));
        fate.copied().unwrap_or(Fate::Either)
    }

    /// What becomes of the packets a rule matched.
    fn fate(&self, spec: &RuleSpec) -> Fate {
        match spec.target.flow() {
            Flow::Continues => Fate::ComesBack,
            Flow::Returns | Flow::Leaves(_) | Flow::Decides => Fate::Decided,
            Flow::Calls(chain) => self.entry_fate(Some(chain)),
            Flow::Unknown => Fate::Either,
        }
    }
}
