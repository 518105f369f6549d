//! What the counters of a dump say: connections per kind of flow, sums, rules never hit, bytes per packet. Pure.
//!
//! A kind is told from what the rules mean: the hook a chain is entered from, the conditions on the way, the target.
//! Rounded counts stay ranges. The nat table is asked for the first packet of a connection only, so there a packet
//! is a connection; other tables count every packet, and no connections can be told from them.

use crate::rules::{
    CountRange, Counter, Family, Imbalance, Rounded, RuleId, RuleSet, Table, balance,
};

mod bytes;
mod exit;
mod kind;
mod sums;

pub use bytes::BytesPerPacket;
pub use exit::{Effect, Exit};
pub use kind::Kind;
pub use sums::{Relation, Sum};

/// What the counters of one table say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// Where connections leave the nat table, with what each kind is told from; empty for other tables.
    pub exits: Vec<Exit>,
    /// Sums that must hold, and whether they do.
    pub sums: Vec<Sum>,
    /// Rules that counted other than the rules around them allow.
    pub imbalances: Vec<Imbalance>,
    /// Rules that counted nothing.
    pub never_hit: Vec<RuleId>,
    /// What the bytes of each rule that counted something say of its packets.
    pub bytes: Vec<BytesPerPacket>,
}

impl Figures {
    /// Connections of a kind.
    pub fn of(&self, kind: Kind) -> CountRange {
        let exits = self.exits.iter().filter(|it| it.kind == kind);
        exits.fold(CountRange::exactly(0), |sum, it| sum.plus(it.packets))
    }

    /// Whether every sum holds.
    pub fn add_up(&self) -> bool {
        self.imbalances.is_empty() && self.sums.iter().all(Sum::holds)
    }
}

/// A rule the text gives no count of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} carries no counters")]
pub struct NotCounted(pub RuleId);

/// Reads the counters of every table that has rules.
///
/// # Errors
/// A rule without a counter: `iptables-save` prints them with `-c` only.
pub fn figures(set: &RuleSet) -> Result<Vec<Figures>, NotCounted> {
    let tables = set
        .tables
        .keys()
        .filter(|it| set.rules(**it).next().is_some());
    tables.map(|table| one_table(set, *table)).collect()
}

fn one_table(set: &RuleSet, table: Table) -> Result<Figures, NotCounted> {
    for (id, rule) in set.rules(table) {
        if count(rule.counters, rule.rounded).is_none() {
            return Err(NotCounted(id));
        }
    }
    let counted = |id: &RuleId| packets(set, id);
    let never = set.rules(table).map(|(id, _)| id);
    Ok(Figures {
        family: set.family,
        table,
        exits: match table {
            Table::Nat => exit::exits(set),
            _ => Vec::new(),
        },
        sums: sums::sums(set, table),
        imbalances: balance(set, table, &counted),
        never_hit: never.filter(|id| packets(set, id).most == 0).collect(),
        bytes: bytes::bytes(set, table),
    })
}

/// The packets a rule counted; nothing for a rule that is not there.
fn packets(set: &RuleSet, id: &RuleId) -> CountRange {
    let rule = set.rule(id);
    let count = rule.and_then(|it| count(it.counters, it.rounded));
    count.map_or(CountRange::exactly(0), |it| it.packets)
}

/// A count, exact or not.
fn count(exact: Option<Counter>, rounded: Option<Rounded>) -> Option<Rounded> {
    let exact = exact.map(|it| Rounded {
        packets: CountRange::exactly(it.packets),
        bytes: CountRange::exactly(it.bytes),
    });
    exact.or(rounded)
}

#[cfg(test)]
mod tests;
