//! A conntrack entry as it stands in the table: what a dump says beside its tuples. Pure; no part of an evidence file.

use std::fmt;

use super::ConntrackEntry;

// From linux/netfilter/nf_conntrack_common.h.
const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
const IPS_SRC_NAT: u32 = 1 << 4;
const IPS_DST_NAT: u32 = 1 << 5;

/// Names of `TCP_CONNTRACK_*` by number, as conntrack(8) prints them; from
/// linux/netfilter/nf_conntrack_tcp.h.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// An entry of the conntrack table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// The entry.
    pub entry: ConntrackEntry,
    /// `TCP_CONNTRACK_*`; none of UDP.
    pub state: Option<u8>,
    /// Seconds until it is forgotten; none while something else keeps it.
    pub expires: Option<u32>,
}

/// Which end of a connection an entry translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Translated {
    /// Neither.
    None,
    /// The source.
    Source,
    /// The destination: REDIRECT, DNAT.
    Destination,
    /// Both.
    Both,
}

impl fmt::Display for Translated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "-",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Both => "both",
        })
    }
}

impl Tracked {
    /// Name of the state, as conntrack(8) prints it; without one, what is known of answers.
    pub fn state_name(&self) -> &'static str {
        let named = self.state.map(usize::from);
        match named.and_then(|it| TCP_STATES.get(it)) {
            Some(name) => name,
            None if self.entry.status & IPS_ASSURED != 0 => "ASSURED",
            None if self.entry.status & IPS_SEEN_REPLY != 0 => "REPLIED",
            None => "UNREPLIED",
        }
    }

    /// What is translated, by `IPS_SRC_NAT` and `IPS_DST_NAT`.
    pub fn translated(&self) -> Translated {
        let has = |bit: u32| self.entry.status & bit != 0;
        match (has(IPS_SRC_NAT), has(IPS_DST_NAT)) {
            (false, false) => Translated::None,
            (true, false) => Translated::Source,
            (false, true) => Translated::Destination,
            (true, true) => Translated::Both,
        }
    }
}
