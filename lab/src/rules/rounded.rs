//! Counters as a listing shortens them: exact up to 99999, then thousands, millions and so on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A count known to lie in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CountRange {
    /// The least it can be.
    pub least: u64,
    /// The most it can be.
    pub most: u64,
}

impl CountRange {
    /// Reads a number of a listing: `52`, `5152K`, `10M`. What it stands for is what `xtables_print_num` shortens to
    /// it, so a number without a unit is exact.
    pub fn from_listing(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
        let unit = ["", "K", "M", "G", "T"]
            .iter()
            .position(|unit| *unit == &text[digits.len()..])?;
        if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        let (mut least, mut most) = (number, number);
        for step in (0..unit).rev() {
            // A unit is reached by rounding what did not fit into the one below it.
            let fits: u64 = if step == 0 { 99_999 } else { 9_999 };
            least = least.saturating_mul(1000).saturating_sub(500).max(fits + 1);
            most = most.saturating_mul(1000).saturating_add(499).max(least);
        }
        Some(Self { least, most })
    }

    /// A count that is known.
    pub fn exactly(count: u64) -> Self {
        let (least, most) = (count, count);
        Self { least, most }
    }

    /// The sum of two counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }

    /// What is left of a count without another; never less than nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_sub(other.most),
            most: self.most.saturating_sub(other.least),
        }
    }

    /// Whether both can be the same count.
    pub fn meets(self, other: Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }

    /// The count, when it is exact.
    pub fn exact(self) -> Option<u64> {
        (self.least == self.most).then_some(self.least)
    }

    /// Whether the count can be this one.
    pub fn contains(self, count: u64) -> bool {
        (self.least..=self.most).contains(&count)
    }
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exact() {
            Some(count) => write!(f, "{count}"),
            None => write!(f, "{} to {}", self.least, self.most),
        }
    }
}

/// Packets and bytes of which at least one is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rounded {
    /// Packets.
    pub packets: CountRange,
    /// Bytes.
    pub bytes: CountRange,
}
