//! What was not seen.

use serde::{Deserialize, Serialize};

/// Observations that were lost. A run that lost any can't be called proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lost {
    /// Times the kernel said that it lost messages because nobody read them in time (ENOBUFS).
    pub overruns: u64,
    /// Messages it lost, by its own count.
    pub messages: u64,
    /// Numbers that are missing in the log groups, where the kernel counts from 0.
    pub log_gaps: u64,
    /// Events that belong to no packet, because its first event was lost.
    pub fragments: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
}

impl Lost {
    /// What was lost after an earlier count.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            overruns: self.overruns.saturating_sub(earlier.overruns),
            messages: self.messages.saturating_sub(earlier.messages),
            log_gaps: self.log_gaps.saturating_sub(earlier.log_gaps),
            fragments: self.fragments.saturating_sub(earlier.fragments),
            unreadable: self.unreadable.saturating_sub(earlier.unreadable),
        }
    }

    /// What two watches lost together.
    pub fn and(self, other: Self) -> Self {
        Self {
            overruns: self.overruns.saturating_add(other.overruns),
            messages: self.messages.saturating_add(other.messages),
            log_gaps: self.log_gaps.saturating_add(other.log_gaps),
            fragments: self.fragments.saturating_add(other.fragments),
            unreadable: self.unreadable.saturating_add(other.unreadable),
        }
    }

    /// `2 overruns (ENOBUFS), 31 messages dropped by the kernel`; none when all was seen.
    pub fn words(self) -> Option<String> {
        let counts = [
            (self.overruns, "overruns (ENOBUFS)"),
            (self.messages, "messages dropped by the kernel"),
            (self.log_gaps, "gaps in the log"),
            (self.fragments, "events without their beginning"),
            (self.unreadable, "messages that could not be read"),
        ];
        let some = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// True when all was seen.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
