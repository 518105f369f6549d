//! One rule as Istio's generator hands it over, and the ordered list of them.

use crate::rules::{Family, Table};

/// Where a rule goes in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the end: `-A CHAIN`.
    Append,
    /// At this 1-based place: `-I CHAIN n`.
    Insert(u32),
}

/// One rule, in the words and at the place Istio gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// `iptables` or `ip6tables`.
    pub family: Family,
    /// Table of the chain.
    pub table: Table,
    /// Chain the rule goes to.
    pub chain: &'static str,
    /// Place in the chain.
    pub position: Position,
    /// Matches and target, spelled as Istio spells them.
    pub words: String,
}

impl Emitted {
    /// The line of a restore file.
    pub fn line(&self) -> String {
        match self.position {
            Position::Append => format!("-A {} {}", self.chain, self.words),
            Position::Insert(n) => format!("-I {} {n} {}", self.chain, self.words),
        }
    }

    /// The chain of Istio's own that the rule ends in (`… -j ISTIO_REDIRECT`).
    pub fn jumps_to(&self) -> Option<&str> {
        let (_, target) = self.words.rsplit_once("-j ")?;
        is_own(target).then_some(target)
    }
}

/// Chains Istio makes; all others come with the kernel.
pub(super) fn is_own(chain: &str) -> bool {
    chain.starts_with("ISTIO_")
}

/// Rules in emission order. A rule for a family that is off is not taken.
#[derive(Debug)]
pub(super) struct Emission {
    families: &'static [Family],
    rules: Vec<Emitted>,
}

impl Emission {
    pub(super) fn new(ipv6: bool) -> Self {
        Self {
            families: if ipv6 {
                &[Family::V4, Family::V6]
            } else {
                &[Family::V4]
            },
            rules: Vec::new(),
        }
    }

    pub(super) fn into_rules(self) -> Vec<Emitted> {
        self.rules
    }

    /// The families that get rules.
    pub(super) fn families(&self) -> &'static [Family] {
        self.families
    }

    /// The same words for every family.
    pub(super) fn append(&mut self, table: Table, chain: &'static str, words: &str) {
        self.append_each(table, chain, |_| words.to_owned());
    }

    /// Words that differ by family, by an address most of the time.
    pub(super) fn append_each(
        &mut self,
        table: Table,
        chain: &'static str,
        words: impl Fn(Family) -> String,
    ) {
        for &family in self.families {
            self.push(family, table, chain, Position::Append, words(family));
        }
    }

    /// For one family only.
    pub(super) fn append_in(
        &mut self,
        family: Family,
        table: Table,
        chain: &'static str,
        words: &str,
    ) {
        self.push(family, table, chain, Position::Append, words.to_owned());
    }

    /// As [`Self::append_each`], at a place counted from 1.
    pub(super) fn insert_each(
        &mut self,
        table: Table,
        chain: &'static str,
        place: u32,
        words: impl Fn(Family) -> String,
    ) {
        for &family in self.families {
            self.push(family, table, chain, Position::Insert(place), words(family));
        }
    }

    /// As [`Self::append_in`], at a place counted from 1.
    pub(super) fn insert_in(
        &mut self,
        family: Family,
        table: Table,
        chain: &'static str,
        place: u32,
        words: &str,
    ) {
        self.push(
            family,
            table,
            chain,
            Position::Insert(place),
            words.to_owned(),
        );
    }

    fn push(
        &mut self,
        family: Family,
        table: Table,
        chain: &'static str,
        position: Position,
        words: String,
    ) {
        if self.families.contains(&family) {
            self.rules.push(Emitted {
                family,
                table,
                chain,
                position,
                words,
            });
        }
    }
}
