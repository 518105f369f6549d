//! What was observed, frozen: counters, connection logs, conntrack, answers. Plain data that the judge reads, now or
//! later from a [`file`](mod@file), on any machine, without root.

mod cut;
mod down;
pub mod file;
mod loss;
mod taken;
mod tracked;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use cut::Cut;
pub use down::Down;
pub use loss::{Loss, Observer};
pub use taken::{Said, Taken};
pub use tracked::{Tracked, Translated};
pub use window::{ConntrackEntry, ConntrackTuple, PodCounters, Quiet, Window};

use crate::{
    rules::{Chosen, CounterSnapshot, Holder, Written},
    traced::Tracing,
};

/// Version of the evidence file; a change of shape is a new version. 1 was one JSON value per run, which nothing read;
/// 2 knew no UDP and no zones, 3 no traces, 4 no rules of nft, no ambient mode, and not whose observations were lost.
pub const SCHEMA: u32 = 6;

/// Everything one run observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the lab.
    pub lab: String,
    /// Where the rules in the pods come from, for people.
    pub rules_from: String,
    /// Where it ran.
    pub machine: Machine,
    /// What came up.
    pub up: Up,
    /// One window per flow, in the order they ran.
    pub windows: Vec<Window>,
    /// Steps that were taken among the flows, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Taken>,
    /// Counters of every sidecar pod after the last window, by pod, then family.
    pub totals: BTreeMap<String, Vec<CounterSnapshot>>,
    /// Where it stops, when it does not go to the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// The machine and its tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Version line of the program that applied the rules: an iptables, or nft where the rules are its own.
    pub iptables: String,
    /// What holds the rules, and why it was taken.
    pub backend: Chosen<Holder>,
    /// True when the lab runs as root of the machine, false in a user namespace.
    pub root: bool,
}

/// What came up, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// Pods in the order of the lab file.
    pub pods: Vec<PodUp>,
    /// Processes in the node: the DNS server.
    pub node: Vec<ProcessUp>,
    /// Which packets are traced in the pods.
    pub tracing: Tracing,
    /// Microseconds from the first namespace to the last process that said it was ready.
    pub took_us: u64,
}

/// A pod that came up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodUp {
    /// Name.
    pub name: String,
    /// What the kernel holds: per family with rules a restore text, or the listing of nft. Empty in pods without rules.
    pub rules: Written,
    /// Counters before the first window, per family with rules. In a listing of nft, those of one table may be the same
    /// for both: [`RuleSet::counts_both_families`](crate::rules::RuleSet::counts_both_families).
    pub counters: Vec<CounterSnapshot>,
    /// istio-init log, in pods with rules.
    pub istio_init: Option<String>,
    /// Processes.
    pub processes: Vec<ProcessUp>,
}

/// A process that said it was ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUp {
    /// What it plays.
    pub role: hoplab_proxies::record::Role,
    /// Id in the lab's PID namespace.
    pub pid: u32,
    /// User and group, in its own words.
    pub owner: hoplab_proxies::record::Owner,
    /// Addresses it listens on.
    pub listeners: Vec<std::net::SocketAddr>,
}
