//! One window: counters before, one flow, its end as the logs show it, counters after.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::{
    record::{Record, Transport},
    wire::CallOutcome,
};
use serde::{Deserialize, Serialize};

use super::Loss;
use crate::{
    rules::{Counter, CounterSnapshot, Family},
    traced::PodTrace,
};

/// What was observed of one flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Name of the flow.
    pub flow: String,
    /// Family it ran over.
    pub family: Family,
    /// Address the sender connected to.
    pub to: SocketAddr,
    /// `x-request-id` it carried.
    pub request_id: String,
    /// What the sender got.
    pub outcome: CallOutcome,
    /// Connection log records of all processes, in the order they arrived.
    pub records: Vec<Record>,
    /// Records of held connections, which began in an earlier window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of_held: Vec<Record>,
    /// Counters around the flow, of every pod that was watched.
    pub counters: BTreeMap<String, PodCounters>,
    /// conntrack entries made since the window before, of every pod with rules.
    pub conntrack: BTreeMap<String, Vec<ConntrackEntry>>,
    /// Packets traced rule by rule, by pod; empty where nothing was traced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub traces: BTreeMap<String, PodTrace>,
    /// Observations that were lost; what they could have contradicted is unproven.
    pub lost: Vec<Loss>,
    /// Whether the logs showed the flow closed.
    pub quiet: Quiet,
    /// Microseconds from the first byte sent to the last record.
    pub took_us: u64,
}

/// Counters of a pod around a flow, all tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCounters {
    /// Before; the same snapshot as the end of the window before, so that windows leave no gap.
    pub before: CounterSnapshot,
    /// After.
    pub after: CounterSnapshot,
}

/// How a window ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiet {
    /// Every connection that was opened was accepted and closed.
    Closed,
    /// The deadline passed first; what was still open, in words.
    Deadline(Vec<String>),
}

/// A TCP or UDP entry of a conntrack table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConntrackEntry {
    /// Kernel's id of the entry.
    pub id: u32,
    /// Address family.
    pub family: Family,
    /// TCP or UDP.
    #[serde(default)]
    pub transport: Transport,
    /// Zone, where a rule put the connection in one.
    #[serde(default)]
    pub zone: Option<u16>,
    /// As the first packet came.
    pub original: ConntrackTuple,
    /// As answers come; differs from the mirror of `original` when something was translated.
    pub reply: ConntrackTuple,
    /// `IPS_*` bits.
    pub status: u32,
    /// Connection mark.
    pub mark: u32,
    /// Packets and bytes from the opener (needs nf_conntrack_acct).
    pub original_counter: Option<Counter>,
    /// Packets and bytes of the answer.
    pub reply_counter: Option<Counter>,
}

/// Addresses of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConntrackTuple {
    /// Source.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
}
