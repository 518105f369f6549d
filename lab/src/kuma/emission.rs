//! Rules of one family in generation order; inserts are numbered by chain.

use std::collections::BTreeMap;

use crate::{
    istio::{Emitted, Position},
    rules::{Family, Table},
};

pub(super) struct Emission {
    pub family: Family,
    rules: Vec<Emitted>,
    inserted: BTreeMap<(Table, &'static str), u32>,
}

impl Emission {
    pub fn new(family: Family) -> Self {
        Self {
            family,
            rules: Vec::new(),
            inserted: BTreeMap::new(),
        }
    }

    pub fn into_rules(self) -> Vec<Emitted> {
        self.rules
    }

    /// At the end of a chain.
    pub fn append(&mut self, table: Table, chain: &'static str, words: impl Into<String>) {
        self.push(table, chain, Position::Append, words.into());
    }

    /// After what was inserted into the chain before, ahead of all else.
    pub fn insert(&mut self, table: Table, chain: &'static str, words: impl Into<String>) {
        let place = self.inserted.entry((table, chain)).or_default();
        *place += 1;
        let position = Position::Insert(*place);
        self.push(table, chain, position, words.into());
    }

    fn push(&mut self, table: Table, chain: &'static str, position: Position, words: String) {
        self.rules.push(Emitted {
            family: self.family,
            table,
            chain,
            position,
            words,
        });
    }
}
