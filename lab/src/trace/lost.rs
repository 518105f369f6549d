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
    /// True when all was seen.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
