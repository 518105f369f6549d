//! Which rule of one set is which of another, when rules were added or taken out.

use std::collections::BTreeMap;

use super::diff::{ordinal, specs};
use super::id::RuleId;
use super::set::RuleSet;

/// Pairs the rules of a reference with those of an applied set. Expectations name reference rules; counters and
/// traces name applied ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alignment {
    applied: BTreeMap<RuleId, RuleId>,
    reference: BTreeMap<RuleId, RuleId>,
}

impl Alignment {
    /// Where a rule of the reference stands in the applied set, if it does.
    pub fn applied(&self, reference: &RuleId) -> Option<&RuleId> {
        self.applied.get(reference)
    }

    /// The rule of the reference that an applied one is, if any.
    pub fn reference(&self, applied: &RuleId) -> Option<&RuleId> {
        self.reference.get(applied)
    }

    /// The pairs, reference first.
    pub fn pairs(&self) -> impl Iterator<Item = (&RuleId, &RuleId)> {
        self.applied.iter()
    }
}

/// Aligns two rule sets of one family, chain by chain, by the longest common subsequence of equal rules: order is
/// kept, so a rule that moved is aligned only if the rules it passed are not. Between them, as many rules on both sides
/// are taken for the same rules in other words, in their order.
pub fn align(reference: &RuleSet, applied: &RuleSet) -> Alignment {
    let mut alignment = Alignment::default();
    for (&table, rules) in &reference.tables {
        for chain in rules.chains() {
            let here = specs(reference, table, &chain.name);
            let there = specs(applied, table, &chain.name);
            for (i, j) in with_reworded(common(&here, &there), here.len(), there.len()) {
                let meant = RuleId::new(reference.family, table, &chain.name, ordinal(i));
                let found = RuleId::new(applied.family, table, &chain.name, ordinal(j));
                alignment.applied.insert(meant.clone(), found.clone());
                alignment.reference.insert(found, meant);
            }
        }
    }
    alignment
}

/// Adds the pairs of every gap that is as long on both sides.
fn with_reworded(pairs: Vec<(usize, usize)>, here: usize, there: usize) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (next_i, next_j) in pairs.into_iter().chain([(here, there)]) {
        if next_i - i == next_j - j {
            all.extend((i..next_i).zip(j..next_j));
        }
        if (next_i, next_j) != (here, there) {
            all.push((next_i, next_j));
        }
        (i, j) = (next_i + 1, next_j + 1);
    }
    all
}

/// Most pairs of rules that are compared with each other: 64 MiB of lengths.
const MOST_PAIRS: usize = 1 << 24;

/// The index pairs of a longest common subsequence. What stands between the first and the last difference counts as
/// replaced as a whole where it is longer than anyone's rules.
pub(super) fn common<T: PartialEq>(a: &[T], b: &[T]) -> Vec<(usize, usize)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (&a[head..], &b[head..]);
    let tail = a_rest
        .iter()
        .rev()
        .zip(b_rest.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (a_mid, b_mid) = (
        &a_rest[..a_rest.len() - tail],
        &b_rest[..b_rest.len() - tail],
    );
    let head_pairs = (0..head).map(|it| (it, it));
    let tail_pairs = (0..tail).map(|it| (a.len() - tail + it, b.len() - tail + it));
    if a_mid.len().saturating_mul(b_mid.len()) > MOST_PAIRS {
        return head_pairs.chain(tail_pairs).collect();
    }
    // `longest[i][j]`: the length for what follows i and j.
    let mut longest = vec![vec![0_u32; b_mid.len() + 1]; a_mid.len() + 1];
    for (i, x) in a_mid.iter().enumerate().rev() {
        for (j, y) in b_mid.iter().enumerate().rev() {
            longest[i][j] = match x == y {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let mut pairs: Vec<(usize, usize)> = head_pairs.collect();
    let (mut i, mut j) = (0, 0);
    while i < a_mid.len() && j < b_mid.len() {
        if a_mid[i] == b_mid[j] {
            pairs.push((head + i, head + j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs.extend(tail_pairs);
    pairs
}
