//! How well connections are witnessed: kinds of witnesses that agree on each.

use std::{collections::BTreeSet, iter::Sum, mem::discriminant};

use serde::Serialize;

use super::{Claim, Witness};

/// Kinds of witnesses (log, counters, conntrack, trace, model …) that agree on each connection, over many connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hops {
    /// Connections.
    pub connections: usize,
    /// Those with two kinds or more.
    pub by_two: usize,
    /// Those with four kinds or more.
    pub by_four: usize,
}

impl Hops {
    /// Of the claim about one connection.
    pub(super) fn of(claim: &Claim) -> Self {
        let kinds = kinds(&claim.witnesses());
        Self {
            connections: 1,
            by_two: usize::from(kinds >= 2),
            by_four: usize::from(kinds >= 4),
        }
    }
}

fn kinds(witnesses: &BTreeSet<&Witness>) -> usize {
    let mut kinds = Vec::new();
    for witness in witnesses {
        let kind = discriminant(*witness);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.len()
}

impl Sum for Hops {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, it| Self {
            connections: sum.connections + it.connections,
            by_two: sum.by_two + it.by_two,
            by_four: sum.by_four + it.by_four,
        })
    }
}
