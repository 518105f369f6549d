//! Flows: who sends what to whom, and what a person expects of it.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use hoplab_proxies::record::Transport;
use serde::{Deserialize, Serialize};

use super::{Connection, Seen};

/// One connection a person asks for, and everything it sets off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Name, unique in the lab.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Who sends.
    pub from: Actor,
    /// Where to.
    pub to: Target,
    /// What is asked there.
    pub ask: Ask,
    /// What the sender is to get.
    pub answer: Answer,
    /// By pod: the nat traversals a person expects.
    /// Pods that are not named expect none.
    pub nat: BTreeMap<String, Vec<Expected>>,
    /// What else a person expects to be seen.
    #[serde(default)]
    pub seen: Seen,
    /// Which connection it goes over.
    #[serde(default)]
    pub connection: Connection,
}

/// What a sender asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// An HTTP GET.
    Get {
        /// Request path.
        path: String,
    },
    /// The addresses of a name, over DNS.
    Lookup {
        /// Name, without the final dot.
        name: String,
        /// UDP or TCP.
        transport: Transport,
    },
}

impl Ask {
    /// What carries it.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Get { .. } => Transport::Tcp,
            Self::Lookup { transport, .. } => *transport,
        }
    }
}

/// A nat traversal a person expects: one packet's way through the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Chain and place of each rule that moves, in order.
    pub rules: Vec<(String, u32)>,
    /// Where it stands in the lab file, in bytes; for complaints.
    #[serde(skip)]
    pub at: std::ops::Range<usize>,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_words(&self.rules))
    }
}

/// `PREROUTING 1 > ISTIO_INBOUND 5`, as the lab file spells it.
pub fn path_words(rules: &[(String, u32)]) -> String {
    let hops: Vec<String> = rules
        .iter()
        .map(|(chain, place)| format!("{chain} {place}"))
        .collect();
    hops.join(" > ")
}

/// Who sends a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Pod it sends from; none is the node.
    pub pod: Option<String>,
    /// As whom.
    pub sender: Sender,
}

/// As whom a flow is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sender {
    /// The pod's own app process.
    App,
    /// The pod's own proxy process.
    Proxy,
    /// A process started for this flow.
    As {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// A supplementary group, which no owner match asks for.
        group: Option<u32>,
    },
}

/// Where a flow goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A pod's own address.
    Pod {
        /// Name.
        pod: String,
        /// Port.
        port: u16,
    },
    /// A service's virtual address.
    Service {
        /// Name.
        service: String,
        /// Port.
        port: u16,
    },
    /// 127.0.0.1 or ::1 of the sender.
    Localhost {
        /// Port.
        port: u16,
    },
    /// The cluster's DNS server, port 53.
    Dns,
    /// An address as such; of its own family only.
    Address(SocketAddr),
}

/// Port of DNS.
const DNS_PORT: u16 = 53;

impl Target {
    /// Destination port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Pod { port, .. } | Self::Service { port, .. } | Self::Localhost { port } => *port,
            Self::Dns => DNS_PORT,
            Self::Address(address) => address.port(),
        }
    }
}

impl Sender {
    /// A process of this user and group, without supplementary groups.
    pub fn of(uid: u32, gid: u32) -> Self {
        let group = None;
        Self::As { uid, gid, group }
    }
}

/// What the sender is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// An HTTP answer with this status.
    Status(u16),
    /// `connect(2)` fails with ECONNREFUSED.
    Refused,
    /// `connect(2)` fails: no router or neighbour knows the address.
    Unreachable,
    /// The connection is made, then ends without an answer.
    Closed,
    /// The connection is made, then a proxy says that it would call itself, and closes it.
    Loop,
    /// The connection was there, and is reset.
    Reset,
    /// Nobody answers the sender's first packet, and it gives up.
    Timeout,
    /// The addresses that the lab's names say.
    Resolved,
    /// No such name.
    NoName,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pod, self.sender) {
            (None, _) => f.write_str("node"),
            (Some(pod), Sender::App) => write!(f, "{pod}/app"),
            (Some(pod), Sender::Proxy) => write!(f, "{pod}/proxy"),
            (Some(pod), Sender::As { uid, gid, group }) => {
                write!(f, "{pod}/{uid}:{gid}")?;
                group.map_or(Ok(()), |group| write!(f, "+{group}"))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { pod, port } => write!(f, "{pod}:{port}"),
            Self::Service { service, port } => write!(f, "{service}:{port}"),
            Self::Localhost { port } => write!(f, "localhost:{port}"),
            Self::Dns => f.write_str("dns"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Closed => f.write_str("closed"),
            Self::Loop => f.write_str("loop"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Resolved => f.write_str("resolved"),
            Self::NoName => f.write_str("no such name"),
        }
    }
}

/// Where the notes under test (fifteen steps and a counter table) are to be looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Pod whose final counters must have the zero and non-zero rows of the notes' table.
    pub table: String,
    /// The steps read as the notes word them.
    pub reply: NotesReply,
    /// The steps read as a new connection.
    pub call: NotesCall,
}

/// The steps read as the reply of a pod to its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotesReply {
    /// Flow to look at.
    pub flow: String,
    /// Pod the steps are about.
    pub pod: String,
    /// Pod that called it.
    pub caller: String,
}

/// The steps read as a pod that calls the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotesCall {
    /// Flow to look at.
    pub flow: String,
    /// Pod the steps are about.
    pub pod: String,
    /// Pod that called it.
    pub caller: String,
    /// Pod it calls.
    pub callee: String,
}
