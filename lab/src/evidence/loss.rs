//! Observations that the kernel made and nobody could read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was lost, of which observer. What it did not see may have happened, so it contradicts nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Who lost it.
    pub of: Observer,
    /// In which pod.
    pub pod: String,
    /// How much, in words: `2 overruns (ENOBUFS), 31 messages dropped by the kernel`.
    pub what: String,
}

/// Who reads in a pod what the kernel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observer {
    /// The rule-by-rule trace of packets.
    Trace,
    /// The watch of conntrack's entries.
    Conntrack,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Observer::Trace => "the trace",
            Observer::Conntrack => "the conntrack events",
        };
        write!(f, "{of} of {}: {}", self.pod, self.what)
    }
}
