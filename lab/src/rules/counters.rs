//! Counters of a rule set at one time, and what moved between two times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::id::{Family, RuleId};
use super::set::{Counter, RuleSet};

/// What every rule that counts had counted when it was read: with iptables every rule, with nft those that say
/// `counter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterSnapshot {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Which rules were there: [`RuleSet::fingerprint`].
    pub fingerprint: String,
    /// The count of every rule that counts.
    pub rules: BTreeMap<RuleId, Counter>,
}

/// What every rule counted between two snapshots. Only [`CounterSnapshot::since`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterDelta {
    family: Family,
    fingerprint: String,
    rules: BTreeMap<RuleId, Counter>,
}

/// Why no counts, or no difference of counts, can be told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CounterError {
    /// The text had no counters for a rule: `iptables-save` needs `-c`.
    #[error("{0} carries no counters")]
    NotCounted(RuleId),
    /// The text rounds the counters of a rule.
    #[error("the counters of {0} are rounded, list with `-x`")]
    Rounded(RuleId),
    /// The snapshots are of different rules, so their counts are not of the same things.
    #[error("the {family} rules changed between two readings ({earlier} then {later})")]
    OtherRules {
        /// IPv4 or IPv6.
        family: Family,
        /// Fingerprint of the earlier snapshot.
        earlier: String,
        /// Fingerprint of the later snapshot.
        later: String,
    },
    /// A counter went back: someone zeroed it or loaded the rules anew.
    #[error("{rule} counted {earlier} packets, then {later}")]
    WentBack {
        /// The rule.
        rule: RuleId,
        /// Packets in the earlier snapshot.
        earlier: u64,
        /// Packets in the later snapshot.
        later: u64,
    },
}

impl CounterSnapshot {
    /// Takes the counters of all tables out of a parsed `iptables-save -c`.
    ///
    /// # Errors
    /// [`CounterError::NotCounted`] when a rule came without, [`CounterError::Rounded`] when it came rounded.
    pub fn new(rules: &RuleSet) -> Result<Self, CounterError> {
        let all = rules.tables.keys().flat_map(|table| rules.rules(*table));
        let counted = all.map(|(id, rule)| match rule.counters {
            Some(counter) => Ok((id, counter)),
            None if rule.rounded.is_some() => Err(CounterError::Rounded(id)),
            None => Err(CounterError::NotCounted(id)),
        });
        Ok(Self {
            family: rules.family,
            fingerprint: rules.fingerprint(),
            rules: counted.collect::<Result<_, _>>()?,
        })
    }

    /// Takes the counters out of a listing of nft, where a rule counts only if it says so; the others are left out.
    pub fn of_nft(rules: &RuleSet) -> Self {
        let all = rules.tables.keys().flat_map(|table| rules.rules(*table));
        Self {
            family: rules.family,
            fingerprint: rules.fingerprint(),
            rules: all
                .filter_map(|(id, rule)| Some((id, rule.counters?)))
                .collect(),
        }
    }

    /// What moved since an earlier snapshot.
    ///
    /// # Errors
    /// [`CounterError::OtherRules`] when the snapshots are of different rules, [`CounterError::WentBack`] when a
    /// count fell.
    pub fn since(&self, earlier: &Self) -> Result<CounterDelta, CounterError> {
        let same = self.family == earlier.family
            && self.fingerprint == earlier.fingerprint
            && self.rules.keys().eq(earlier.rules.keys());
        if !same {
            return Err(CounterError::OtherRules {
                family: self.family,
                earlier: earlier.fingerprint.clone(),
                later: self.fingerprint.clone(),
            });
        }
        let pairs = self.rules.iter().zip(earlier.rules.values());
        let rules = pairs.map(|((rule, now), then)| {
            let packets = now.packets.checked_sub(then.packets);
            match (packets, now.bytes.checked_sub(then.bytes)) {
                (Some(packets), Some(bytes)) => Ok((rule.clone(), Counter { packets, bytes })),
                _ => Err(CounterError::WentBack {
                    rule: rule.clone(),
                    earlier: then.packets,
                    later: now.packets,
                }),
            }
        });
        Ok(CounterDelta {
            family: self.family,
            fingerprint: self.fingerprint.clone(),
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

impl CounterDelta {
    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Which rules counted.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Every rule that counts with what it counted, zero included.
    pub fn rules(&self) -> &BTreeMap<RuleId, Counter> {
        &self.rules
    }

    /// What one rule counted; `None` for a rule that is not there, or does not count.
    pub fn get(&self, rule: &RuleId) -> Option<Counter> {
        self.rules.get(rule).copied()
    }

    /// The rules that counted something.
    pub fn moved(&self) -> impl Iterator<Item = (&RuleId, Counter)> {
        self.rules
            .iter()
            .filter(|(_, it)| **it != Counter::default())
            .map(|(rule, it)| (rule, *it))
    }
}

/// The sum of some counts. One that is too large for a number is the largest number: counters that were read back from
/// a file may say anything.
pub fn packets(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}
