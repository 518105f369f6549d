//! The connection log: one JSON record per accept, per connect and per close of a stub process.
//!
//! Two joins make a path out of single records, and neither needs a guess:
//! - inside a process, `Connect::parent` names the accepted connection on whose behalf it was opened;
//! - between processes, the `local` address of a connect is the `peer` of the accept it met, unless a
//!   REDIRECT had to rewrite the source port (two tuples would collide); then the original destination
//!   and conntrack's reply tuple decide.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What a process plays in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The workload, uid 1000 unless the lab file says otherwise.
    App,
    /// The sidecar or gateway proxy, uid and gid 1337.
    Proxy,
    /// A short-lived process that sends one flow as a given uid and gid.
    Probe,
    /// The cluster's DNS server, in the node.
    Dns,
}

impl Role {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Proxy => "proxy",
            Self::Probe => "probe",
            Self::Dns => "dns",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What carries a connection. A UDP query and its answer count as one connection: the first datagram a listener takes
/// is its accept, the answer (or giving up) its close.
///
/// At the sender's end, connect(2) of a UDP socket asks nobody: `Connected` says no more than that it has two ends. That
/// nobody listens at the other one comes later, by ICMP, and is in the close: `Error("ECONNREFUSED")`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// True for TCP, which logs leave out.
    #[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde wants
    fn is_tcp(&self) -> bool {
        *self == Self::Tcp
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde wants
fn is_zero(mark: &u32) -> bool {
    *mark == 0
}

/// User and group the kernel stored with a socket: what `-m owner` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// User id inside the lab.
    pub uid: u32,
    /// Group id inside the lab.
    pub gid: u32,
}

/// One line of a connection log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// CLOCK_MONOTONIC, nanoseconds; comparable between processes of one machine.
    pub at_ns: u64,
    /// Name of the pod.
    pub pod: String,
    /// Role of the process that wrote the record.
    pub role: Role,
    /// Process id in the lab's PID namespace.
    pub pid: u32,
    /// Connection number, unique within the process and shared by a connection's records.
    pub conn: u64,
    /// `x-request-id` of the request on this connection, where the process reads HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A listener took a connection from its queue.
    Accept {
        /// What carries it.
        #[serde(default, skip_serializing_if = "Transport::is_tcp")]
        transport: Transport,
        /// Address the listener is bound to, such as `0.0.0.0:15006`.
        listener: SocketAddr,
        /// Remote end as the accepted socket sees it.
        peer: SocketAddr,
        /// Local end as the accepted socket sees it, after any REDIRECT.
        local: SocketAddr,
        /// Destination before translation.
        original_dst: OriginalDst,
        /// Owner of the accepted socket.
        owner: Owner,
    },
    /// The process opened a connection, or tried to.
    Connect {
        /// What carries it.
        #[serde(default, skip_serializing_if = "Transport::is_tcp")]
        transport: Transport,
        /// Accepted connection on whose behalf it was opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<u64>,
        /// Address given to `connect(2)`.
        remote: SocketAddr,
        /// Source address the socket was bound to before connecting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<IpAddr>,
        /// `SO_MARK` of the socket; 0 is none.
        #[serde(default, skip_serializing_if = "is_zero")]
        mark: u32,
        /// Owner of the socket.
        owner: Owner,
        /// How it ended.
        result: ConnectResult,
    },
    /// The connection is over in both directions. One still open when its process stops has no such record.
    Close {
        /// Bytes read from the other end.
        received: u64,
        /// Bytes written to the other end.
        sent: u64,
        /// Why it is over.
        outcome: CloseOutcome,
    },
}

/// `SO_ORIGINAL_DST` (or `IP6T_SO_ORIGINAL_DST`) of an accepted socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginalDst {
    /// What the kernel answered. Equal to the local address when nothing was translated.
    Known(SocketAddr),
    /// The kernel has none; the text says why (ENOENT: no conntrack in this namespace).
    None(String),
}

impl OriginalDst {
    /// The address, if the kernel gave one.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Known(addr) => Some(*addr),
            Self::None(_) => None,
        }
    }
}

/// Result of `connect(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectResult {
    /// The handshake completed.
    Connected {
        /// Local end, with the port the kernel chose.
        local: SocketAddr,
        /// Remote end as `getpeername(2)` gives it.
        remote: SocketAddr,
    },
    /// It did not, and no close record follows.
    Failed {
        /// Symbolic errno, such as `ECONNREFUSED`, or `timeout`.
        errno: String,
    },
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseOutcome {
    /// Both directions ended in order.
    Done,
    /// The proxy would have called itself; the text names the evidence.
    LoopRefused(String),
    /// The upstream could not be reached; symbolic errno.
    UpstreamFailed(String),
    /// The proxy already serves as many connections as it may.
    OverLimit,
    /// The other end reset the connection. (The leg on which a proxy passes a reset on has an `Error` that says so.)
    Reset,
    /// Anything else, in words.
    Error(String),
}
