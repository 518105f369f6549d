//! One line of the evidence file.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::{record::Record, wire::CallOutcome};
use serde::{Deserialize, Serialize};

use crate::{
    evidence::{ConntrackEntry, Down, Loss, Machine, PodUp, ProcessUp, Quiet, Taken},
    lab_file::SavedLab,
    rules::{CounterSnapshot, Family},
    traced::{PodTrace, Tracing},
};

/// `kind` of the first line, by which a file is known for what it is.
pub(super) const KIND: &str = "hoplab-evidence";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`](crate::evidence::SCHEMA) of the lines that follow.
    pub schema: u32,
    /// Version of the hoplab that wrote it.
    pub hoplab: String,
    /// When the run began, seconds since 1970 (UTC).
    pub started: u64,
    /// The flows that are to be sent, in this order.
    pub flows: Vec<Planned>,
}

/// A flow that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Name.
    pub flow: String,
    /// Family it is to go over.
    pub family: Family,
}

/// Any line. A new kind of observation is a new variant between [`Line::Flow`] and [`Line::FlowOver`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Line {
    /// First.
    #[serde(rename = "hoplab-evidence")]
    Header(Header),
    /// The lab and what it is judged by.
    Lab(Box<SavedLab>),
    /// Where it runs.
    Machine(Machine),
    /// A pod came up.
    Pod(Box<PodUp>),
    /// All pods are up.
    Up {
        /// Processes in the node.
        node: Vec<ProcessUp>,
        /// Which packets are traced in the pods.
        tracing: Tracing,
        /// Microseconds it took.
        took_us: u64,
    },
    /// A flow begins.
    Flow {
        flow: String,
        family: Family,
        to: SocketAddr,
        request_id: String,
    },
    /// By the connection log of the process it names.
    Log(Record),
    /// As `log`, of a connection that an earlier flow held open.
    LogOfHeld(Record),
    /// By iptables-save in a pod. Before `flow`: counters that no window accounts for; after it: those after the flow.
    Counters {
        pod: String,
        #[serde(flatten)]
        read: CounterSnapshot,
    },
    /// By the conntrack watch of a pod.
    Conntrack {
        pod: String,
        entries: Vec<ConntrackEntry>,
    },
    /// By the observers in a pod: packets, rule by rule.
    Trace {
        pod: String,
        #[serde(flatten)]
        trace: PodTrace,
    },
    /// By whoever lost something.
    Lost(Loss),
    /// By the sender.
    Answer { outcome: CallOutcome },
    /// The flow's observations are complete.
    FlowOver { quiet: Quiet, took_us: u64 },
    /// Between two flows: a step, what came of it, and how the pods stand then.
    Step(Box<Taken>),
    /// By iptables-save in every pod, after the last flow.
    Totals {
        counters: BTreeMap<String, Vec<CounterSnapshot>>,
    },
    /// What went down.
    Down(Down),
    /// Last.
    End {
        /// Microseconds from start to end.
        took_us: u64,
    },
}

impl Line {
    /// `kind`, as the file spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Header(_) => KIND,
            Self::Lab(_) => "lab",
            Self::Machine(_) => "machine",
            Self::Pod(_) => "pod",
            Self::Up { .. } => "up",
            Self::Flow { .. } => "flow",
            Self::Log(_) => "log",
            Self::LogOfHeld(_) => "log-of-held",
            Self::Step(_) => "step",
            Self::Counters { .. } => "counters",
            Self::Conntrack { .. } => "conntrack",
            Self::Trace { .. } => "trace",
            Self::Lost(_) => "lost",
            Self::Answer { .. } => "answer",
            Self::FlowOver { .. } => "flow-over",
            Self::Totals { .. } => "totals",
            Self::Down(_) => "down",
            Self::End { .. } => "end",
        }
    }
}
