//! Which rule a trace means: chains and rules of one generation of the rule set, and what changed between two. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChainName, Hook, Ordinal, TableFamily};

/// A chain at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChainEntry {
    /// Hook and priority of a base chain.
    pub base: Option<(Hook, i32)>,
    /// Of type nat: conntrack is in use then.
    pub nat: bool,
    /// Handles of the rules, in order.
    pub rules: Vec<u64>,
}

/// All chains at one generation of the rule set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// The kernel's number; every committed change makes it one more.
    pub id: u32,
    pub chains: BTreeMap<ChainName, ChainEntry>,
}

impl Generation {
    /// Whether any chain is of type nat.
    pub fn has_nat(&self) -> bool {
        self.chains.values().any(|chain| chain.nat)
    }
}

/// The generation before the packets, the one after them, and which chains were touched in between.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleBook {
    before: Generation,
    after: Generation,
    /// Chains in which something was added, removed or replaced, with the handles of the rules it was.
    touched: BTreeMap<ChainName, BTreeSet<u64>>,
    tables_touched: BTreeSet<(TableFamily, String)>,
    /// Reports of changes were lost: any chain may have been touched.
    blind: bool,
}

impl RuleBook {
    pub fn new(generation: Generation) -> Self {
        Self {
            before: generation.clone(),
            after: generation,
            ..Self::default()
        }
    }

    /// Number of the newest generation known.
    pub fn generation(&self) -> u32 {
        self.after.id
    }

    /// A rule of this chain was added, removed or replaced.
    pub fn touch_rule(&mut self, chain: ChainName, handle: u64) {
        self.touched.entry(chain).or_default().insert(handle);
    }

    /// This chain was added or removed.
    pub fn touch_chain(&mut self, chain: ChainName) {
        self.touched.entry(chain).or_default();
    }

    /// A table was added or removed.
    pub fn touch_table(&mut self, family: TableFamily, table: String) {
        self.tables_touched.insert((family, table));
    }

    /// Reports of changes were lost.
    pub fn lose_sight(&mut self) {
        self.blind = true;
    }

    /// The rule set as it is after the packets that are resolved next.
    pub fn advance(&mut self, generation: Generation) {
        self.after = generation;
    }

    /// The packets so far are resolved: what comes later has met the newest generation, or one after it.
    pub fn settle(&mut self) {
        self.before = self.after.clone();
        self.touched.clear();
        self.tables_touched.clear();
        self.blind = false;
    }

    /// Hook and priority of a base chain.
    pub fn base(&self, chain: &ChainName) -> Option<(Hook, i32)> {
        let entry = self
            .after
            .chains
            .get(chain)
            .or(self.before.chains.get(chain));
        entry.and_then(|entry| entry.base)
    }

    /// How many rules a chain has; none when it changed.
    pub fn rules_in(&self, chain: &ChainName) -> Option<u32> {
        let count = |generation: &Generation| {
            let entry = generation.chains.get(chain)?;
            u32::try_from(entry.rules.len()).ok()
        };
        let known = count(&self.after)?;
        (self.is_certain(chain) || count(&self.before) == Some(known)).then_some(known)
    }

    /// Whether nobody changed the chain while the packets passed.
    fn is_certain(&self, chain: &ChainName) -> bool {
        let touched = self.touched.contains_key(chain) || self.is_table_touched(chain);
        self.before.id == self.after.id || !(self.blind || touched)
    }

    /// A table made anew counts its handles from 1 again.
    fn is_table_touched(&self, chain: &ChainName) -> bool {
        let table = (chain.family, chain.table.clone());
        self.tables_touched.contains(&table)
    }

    /// Handle of the rule at a place, counted from 1, as the rules are now.
    pub fn handle(&self, chain: &ChainName, ordinal: u32) -> Option<u64> {
        let rules = &self.after.chains.get(chain)?.rules;
        rules.get(ordinal.checked_sub(1)? as usize).copied()
    }

    /// Place of the rule with this handle.
    ///
    /// A handle is not a rule: one that takes the place of another has its handle (seen on Linux 6.18 with `-R` and
    /// `nft replace`), and a table made anew counts from 1 again. The kernel's reports of changes tell both.
    pub fn ordinal(&self, chain: &ChainName, handle: u64) -> Ordinal {
        let place = |generation: &Generation| {
            let rules = &generation.chains.get(chain)?.rules;
            let at = rules.iter().position(|it| *it == handle)?;
            u32::try_from(at + 1).ok()
        };
        let (before, after) = (place(&self.before), place(&self.after));
        if self.is_certain(chain) {
            return match after {
                Some(ordinal) => Ordinal::Known(ordinal),
                None => Ordinal::Unknown(format!("no rule of this chain has handle {handle}")),
            };
        }
        // What only one side of one change has, or what it let alone.
        let one_change = self.after.id == self.before.id.wrapping_add(1)
            && !self.blind
            && !self.is_table_touched(chain);
        let replaced = self
            .touched
            .get(chain)
            .is_some_and(|it| it.contains(&handle));
        let how = match (before, after) {
            (Some(before), Some(after)) if replaced => {
                format!("rule {before} was replaced, and is rule {after} afterwards")
            }
            (Some(before), Some(after)) if one_change && before == after => {
                return Ordinal::Known(after);
            }
            (Some(only), None) | (None, Some(only)) if one_change => return Ordinal::Known(only),
            (Some(before), Some(after)) => format!("rule {before} before, {after} afterwards"),
            (Some(before), None) => format!("rule {before} before, gone afterwards"),
            (None, Some(after)) => format!("not there before, rule {after} afterwards"),
            (None, None) => format!("handle {handle} came and went"),
        };
        Ordinal::Unknown(format!("the chain changed meanwhile: {how}"))
    }
}
