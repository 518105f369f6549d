//! What the rules alone say about the chains of a table: which packets that enter one come back.

use std::collections::{BTreeMap, BTreeSet};

use super::matches::RuleSpec;
use super::set::{Chain, TableRules};
use super::target::Flow;
use super::values::Protocol;

/// What becomes of the packets a rule matched, seen from its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All go on to the next rule.
    ComesBack,
    /// None does.
    Decided,
    /// Some may.
    Either,
}

/// What the rules alone say about the chains of a table.
pub(crate) struct Shape<'a> {
    chains: BTreeMap<&'a str, &'a Chain>,
    /// The one protocol that can enter a chain; absent when any can.
    protocols: BTreeMap<&'a str, Protocol>,
    /// What becomes of a packet that enters a chain by a jump.
    fates: BTreeMap<&'a str, Fate>,
}

impl<'a> Shape<'a> {
    /// Reads the chains of a table.
    pub(crate) fn new(table: &'a TableRules) -> Self {
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

    /// The one protocol that can enter a chain.
    pub(crate) fn protocol(&self, chain: &str) -> Option<Protocol> {
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
    pub(crate) fn fate(&self, spec: &RuleSpec) -> Fate {
        match spec.target.flow() {
            Flow::Continues => Fate::ComesBack,
            Flow::Returns | Flow::Leaves(_) | Flow::Decides => Fate::Decided,
            Flow::Calls(chain) => self.entry_fate(Some(chain)),
            Flow::Unknown => Fate::Either,
        }
    }
}
