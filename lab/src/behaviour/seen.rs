//! What a kernel did with flows, as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::course::{Arrival, Hop};
use crate::model::Hook;
use crate::rules::Chosen;

/// What a kernel did with the flows of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The backend, and why that one; none for native nft.
    pub backend: Option<Chosen>,
    /// Each flow, in the order given.
    pub seen: Vec<Seen>,
    /// What the kernel could not tell, in words.
    pub lost: Option<String>,
    /// Time from the first packet to the last observation, microseconds.
    pub took_us: u64,
}

/// What a kernel did with one flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The rules its first packet matched, hook by hook, by the kernel's own trace.
    pub hops: Vec<Hop>,
    /// Where it ended, by sockets; where no socket tells, by the trace.
    pub end: SeenEnd,
    /// What makes the trace of it uncertain, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// Where a kernel took a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum SeenEnd {
    /// A socket read what was sent.
    Reached(Arrival),
    /// The sender was told that it is refused, by a reset or an ICMP message.
    Refused {
        /// The error of the sender's socket.
        error: String,
    },
    /// The trace shows that a rule or policy dropped it.
    Dropped {
        /// Which.
        by: String,
    },
    /// The sender's own system call was refused.
    NotSent {
        /// The error.
        error: String,
    },
    /// Nobody has it, and nothing dropped it at a hook.
    Silent {
        /// The last hook it was seen at.
        last: Option<Hook>,
    },
}

impl fmt::Display for SeenEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(arrival) => arrival.fmt(f),
            Self::Refused { error } => write!(f, "refused: {error}"),
            Self::Dropped { by } => write!(f, "dropped by {by}"),
            Self::NotSent { error } => write!(f, "not sent: {error}"),
            Self::Silent { last: Some(hook) } => write!(f, "nowhere, last seen at {hook}"),
            Self::Silent { last: None } => f.write_str("nowhere, seen at no hook"),
        }
    }
}
