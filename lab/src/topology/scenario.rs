//! What a person expects of a flow beside its answer and its rules, and the variants of a lab.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ProcessRole, RuleSource, Target};
use crate::rules::Edit;

/// What a person expects to be seen of a flow. What is not named is not judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether a proxy takes the sender's connection.
    pub way: Option<Way>,
    /// Who answers.
    pub answered_by: Option<Place>,
    /// Which source address the one who answers sees.
    pub source: Option<SeenSource>,
    /// Which original destination the first proxy reads.
    pub original_dst: Option<Target>,
    /// Whether the one who takes the sender's connection sees the port that the sender bound.
    pub source_port: Option<SeenPort>,
}

impl Seen {
    /// Whether a person expects any of it.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// Whether a proxy takes the sender's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It ends where it was meant to.
    Direct,
    /// Rules hand it to a listener of a proxy that is there for this.
    Proxied,
}

/// A process of a pod, or of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Pod; none is the node.
    pub pod: Option<String>,
    /// Which of its processes.
    pub role: ProcessRole,
}

/// The address that a listener sees its client at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeenSource {
    /// That of a pod.
    Pod(String),
    /// That of the node.
    Node,
    /// 127.0.0.6 or `::6`: the proxy's own source for its app.
    Passthrough,
    /// 127.0.0.1 or `::1`.
    Localhost,
}

/// What becomes of the sender's source port on its way to whoever takes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenPort {
    /// It is the port that the sender has.
    Kept,
    /// conntrack gave the connection another one, since another has its addresses and ports already
    /// (`nf_nat_used_tuple` and `nf_nat_l4proto_unique_tuple` in net/netfilter/nf_nat_core.c).
    Changed,
}

/// Which connection a flow goes over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Source port that the sender binds; none leaves it to the kernel.
    pub source_port: Option<u16>,
    /// Milliseconds the sender waits for an answer; none is as long as a flow may take.
    pub give_up_ms: Option<u64>,
    /// Pod whose address the sender, a proxy, takes for its own; none leaves it to the kernel.
    pub source: Option<String>,
    /// Name under which the connection stays open after the answer.
    pub hold: Option<String>,
    /// Name of a connection that was held, in place of a new one.
    pub resume: Option<String>,
}

/// The same lab and flows with something changed, and what the verdict must be then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Name, unique in the lab.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Pod whose own rules are changed; none is the lab's.
    pub pod: Option<String>,
    /// Rules in place of the lab's own.
    pub rules: Option<RuleSource>,
    /// Changes: of those rules, or of the lab's own.
    pub edit: Vec<Edit>,
    /// Users and groups of apps, by pod.
    pub apps: BTreeMap<String, (u32, u32)>,
    /// Users and groups of proxies, by pod.
    pub proxies: BTreeMap<String, (u32, u32)>,
    /// Whether everything must hold; else it must be refuted.
    pub holds: bool,
    /// The flows that must be refuted, and no other.
    pub flows: Vec<String>,
    /// Rule that the verdict has to name, such as `ISTIO_OUTPUT 4`.
    pub rule: Option<String>,
}

impl fmt::Display for SeenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Proxied => "proxied",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "{pod}/{}", self.role),
            None => write!(f, "node/{}", self.role),
        }
    }
}

impl fmt::Display for SeenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod(pod) => pod,
            Self::Node => "node",
            Self::Passthrough => "passthrough",
            Self::Localhost => "localhost",
        })
    }
}
