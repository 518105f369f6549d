//! What the command line (or a test) and the supervisor say to each other: one JSON value per line each way.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

pub use crate::evidence::Down;
use crate::{
    apply::ApplyPlan,
    behaviour::ProbeReport,
    evidence::{Machine, Said, Up, Window},
    failure::Failure,
    plan::Plan,
    probe::ProbePlan,
    reconcile::Change,
    rules::{CounterSnapshot, Family, Written},
    topology::{Ask, Connection, Process, Sender},
};

/// To the supervisor. Every request gets one answer, or [`Message::Failed`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Build the lab; answered by [`Message::Up`].
    Up(Box<Plan>),
    /// Send one flow; answered by [`Message::Window`].
    Drive(Box<Order>),
    /// Take a step between two flows; answered by [`Message::Stepped`].
    Step(Box<StepOrder>),
    /// Make the running lab another one, step by step; answered by [`Message::Reconciled`].
    Reconcile(Box<Reconcile>),
    /// Read every counter; answered by [`Message::Totals`].
    Totals,
    /// Take the lab down; answered by [`Message::Down`], then the supervisor ends.
    Down,
    /// Live on after the caller ends; the end of the socket no longer ends the lab. Answered by [`Message::Kept`].
    LetGo,
    /// From a command that comes later: start from now. What nobody has asked for is forgotten, and rules and counters
    /// are read again; answered by [`Message::Up`].
    Attach,
    /// Apply rules to a throwaway pod; answered by [`Message::Applied`].
    Apply(Box<ApplyPlan>),
    /// Play flows under a rule set in throwaway namespaces; answered by [`Message::Probed`].
    Probe(Box<ProbePlan>),
    /// Try what a lab needs in this sandbox; answered by [`Message::Checks`].
    Doctor,
}

/// A flow with its addresses settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Milliseconds the sender waits for an answer; none is as long as the flow may take.
    pub give_up_ms: Option<u64>,
    /// Source address of somebody else that the sender takes; none leaves it to the kernel.
    pub source: Option<std::net::IpAddr>,
    /// Name of the flow.
    pub flow: String,
    /// Family it runs over.
    pub family: Family,
    /// Pod it is sent from; none is the node.
    pub pod: Option<String>,
    /// As whom.
    pub sender: Sender,
    /// Address to connect to.
    pub to: SocketAddr,
    /// `Host` header of a GET.
    pub host: String,
    /// What is asked there.
    pub ask: Ask,
    /// `x-request-id` header; of a lookup, the name of the flow in the logs.
    pub request_id: String,
    /// Pods whose counters are read although no process of theirs may log anything.
    pub watch: Vec<String>,
    /// How long the flow may take until the logs show it closed, milliseconds.
    pub deadline_ms: u64,
    /// Which connection it goes over.
    #[serde(default)]
    pub connection: Connection,
}

/// A step, with what it needs of the lab file settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOrder {
    /// Name of the step.
    pub step: String,
    /// What to do.
    pub what: StepWhat,
}

/// What a step does to the running lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StepWhat {
    /// Gives texts to iptables-restore in every pod with rules.
    Restore {
        /// Text by family.
        texts: BTreeMap<Family, String>,
        /// Whether the tables they name are emptied first.
        flush: bool,
        /// Pods that keep their rules, which are their own.
        but: Vec<String>,
    },
    /// Replaces what the tables of one pod hold.
    Replace {
        /// The pod.
        pod: String,
        /// The rules it gets; a family that the lab has rules of and these do not gets none.
        rules: Written,
    },
    /// Ends a process.
    Stop(Process),
    /// Starts one that was stopped.
    Start(Process),
    /// Both.
    Restart(Process),
    /// Has conntrack of a pod forget everything.
    Flush {
        /// The pod.
        pod: String,
    },
    /// Closes a held connection.
    Release {
        /// Its name.
        held: String,
    },
    /// Sends a segment outside the window of a held connection.
    Invalid {
        /// Its name.
        held: String,
    },
}

impl StepWhat {
    /// Whether it is for a lab of which a process has died: what starts or ends processes is.
    pub(crate) fn repairs(&self) -> bool {
        matches!(self, Self::Stop(_) | Self::Start(_) | Self::Restart(_))
    }
}

/// What a running lab is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The plan of the whole lab.
    pub plan: Plan,
    /// Only says what would be changed.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Changes that were made, in their order.
    pub done: Vec<Change>,
    /// Changes that were not made: all of a dry run, and those from the first that failed.
    pub left: Vec<Change>,
    /// Why the first of those that are left was not made.
    pub failure: Option<Failure>,
    /// The machine, and what holds the rules now.
    pub machine: Machine,
    /// The lab as it stands.
    pub up: Up,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stepped {
    /// What programs said that ran for it.
    pub said: Vec<Said>,
    /// The lab as it stands.
    pub up: Up,
}

/// What a command that comes later hears first on the lab's socket, before it may ask for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// Another command has its turn: [`Greeting::Turn`] follows when that is over.
    Waiting,
    /// Requests are taken now.
    Turn,
}

/// From the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Message {
    /// The lab is up; after [`Request::Attach`], as it stands now.
    Up(Box<(Machine, Up)>),
    /// A flow is over.
    Window(Box<Window>),
    /// A step was taken.
    Stepped(Box<Stepped>),
    /// What was changed in the lab.
    Reconciled(Box<Reconciled>),
    /// Counters of every sidecar pod.
    Totals(BTreeMap<String, Vec<CounterSnapshot>>),
    /// The lab lives on by itself; nothing of hoplab's own is among the rules of its pods.
    Kept,
    /// The lab is down.
    Down(Down),
    /// What was done to a throwaway pod.
    Applied(Box<crate::apply::Report>),
    /// What a rule set did to flows.
    Probed(Box<ProbeReport>),
    /// What a doctor found.
    Checks(Vec<crate::doctor::Check>),
    /// A request could not be carried out.
    Failed(Failure),
}
