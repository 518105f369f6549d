//! What is done to a running lab between its flows.

use std::{collections::BTreeMap, fmt, ops::Range};

use hoplab_proxies::record::Role;
use serde::{Deserialize, Serialize};

use super::RuleSource;
use crate::rules::{Edit, Table};

/// One entry of the script: flows and steps stand in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A flow, by its place among the flows.
    Flow(usize),
    /// A step, by its place among the steps.
    Step(usize),
}

/// One thing that is done to a running lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name, unique among steps.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Pod whose own rules it changes; none is the lab's rules, in every pod that has those.
    #[serde(default)]
    pub pod: Option<String>,
    /// What is done.
    pub action: Action,
    /// Rules that it moves, by pod, and no other; none is not judged.
    #[serde(default)]
    pub moves: Option<BTreeMap<String, Vec<RulePlace>>>,
}

/// A rule by its place, as people write it: `ISTIO_OUTPUT 4`, `mangle PREROUTING 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePlace {
    /// Table, nat where none is written.
    pub table: Table,
    /// Chain.
    pub chain: String,
    /// Place in the chain, from 1.
    pub place: u32,
    /// Where it stands in the lab file, in bytes.
    pub at: Range<usize>,
}

impl std::str::FromStr for RulePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is not a rule by its place");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (table, chain, place) = match words[..] {
            [chain, place] => (Table::Nat, chain, place),
            [table, chain, place] => {
                let known = Table::ALL.into_iter().find(|it| it.name() == table);
                (known.ok_or_else(bad)?, chain, place)
            }
            _ => return Err(bad()),
        };
        let place = place.parse().ok().filter(|it| *it > 0).ok_or_else(bad)?;
        Ok(Self {
            table,
            chain: chain.to_owned(),
            place,
            at: 0..0,
        })
    }
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table {
            Table::Nat => write!(f, "{} {}", self.chain, self.place),
            table => write!(f, "{table} {} {}", self.chain, self.place),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Changes rules in every pod with a sidecar.
    Edit(Vec<Edit>),
    /// Takes all rules away in every pod with a sidecar, and applies others.
    Apply {
        /// The others.
        rules: RuleSource,
        /// Changes of them.
        edit: Vec<Edit>,
    },
    /// Applies the rules there are once more, as an init container that is started again does.
    Init {
        /// Whether iptables must refuse it, for the chains that are there.
        refused: bool,
    },
    /// Ends a process.
    Stop(Process),
    /// Starts one that was stopped.
    Start(Process),
    /// Both.
    Restart(Process),
    /// Forgets every connection that conntrack of a pod knows.
    Flush {
        /// The pod.
        pod: String,
    },
    /// Adds the link of a pod that is behind another: an interface more in both.
    Plug {
        /// The pod.
        pod: String,
    },
    /// Takes it away.
    Unplug {
        /// The pod.
        pod: String,
    },
    /// Closes a held connection.
    Release {
        /// Its name.
        held: String,
    },
    /// Sends a segment far outside the window of a held connection, as its client would.
    Invalid {
        /// Its name.
        held: String,
    },
}

impl Action {
    /// Whether every packet that it sets off is over when it is: of a connection that ends some are still on their way,
    /// and where rules are changed there is nothing to compare.
    pub fn is_over_at_once(&self) -> bool {
        matches!(
            self,
            Self::Flush { .. } | Self::Invalid { .. } | Self::Plug { .. } | Self::Unplug { .. }
        )
    }

    /// Whether it changes rules, or tries to.
    pub fn changes_rules(&self) -> bool {
        matches!(self, Self::Edit(_) | Self::Apply { .. } | Self::Init { .. })
    }
}

/// An app or proxy of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Pod.
    pub pod: String,
    /// Which.
    pub role: ProcessRole,
}

/// Which process of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessRole {
    /// The workload.
    App,
    /// The sidecar or gateway.
    Proxy,
    /// The cluster's DNS server, of the node alone.
    Dns,
}

impl ProcessRole {
    /// What the logs call it.
    pub fn logged(self) -> Role {
        match self {
            Self::App => Role::App,
            Self::Proxy => Role::Proxy,
            Self::Dns => Role::Dns,
        }
    }

    /// The process that logs as a role; none of a sender, which is no process of a lab file.
    pub fn of(role: Role) -> Option<Self> {
        let mut all = [Self::App, Self::Proxy, Self::Dns].into_iter();
        all.find(|it| it.logged() == role)
    }
}

impl fmt::Display for ProcessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Proxy => "proxy",
            Self::Dns => "dns",
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.role)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edit(edits) => {
                let words: Vec<String> = edits.iter().map(ToString::to_string).collect();
                write!(f, "edit: {}", words.join("; "))
            }
            Self::Apply { rules, edit } => {
                write!(f, "apply {rules}")?;
                edit.iter().try_for_each(|it| write!(f, "; {it}"))
            }
            Self::Init { refused: false } => f.write_str("run init again"),
            Self::Init { refused: true } => f.write_str("run init again, which is refused"),
            Self::Stop(process) => write!(f, "stop {process}"),
            Self::Start(process) => write!(f, "start {process}"),
            Self::Restart(process) => write!(f, "restart {process}"),
            Self::Flush { pod } => write!(f, "flush conntrack of {pod}"),
            Self::Plug { pod } => write!(f, "plug in {pod}"),
            Self::Unplug { pod } => write!(f, "unplug {pod}"),
            Self::Release { held } => write!(f, "release {held}"),
            Self::Invalid { held } => write!(f, "send a segment outside the window of {held}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "in {pod} {}", self.action),
            None => write!(f, "{}", self.action),
        }
    }
}

impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(name) => f.write_str(name),
            Self::Options { profile, options } => write!(f, "{profile} {}", options.join(" ")),
            Self::Files { v4, .. } => f.write_str(v4),
            Self::Text { .. } => f.write_str("rules of the lab file"),
        }
    }
}
