//! One connection a flow is expected to make.

use std::net::{IpAddr, SocketAddr};

use hoplab_proxies::record::{Role, Transport};

use super::{Crossing, Listener};

/// One TCP connection, or one UDP query with its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    /// Index of the leg on whose behalf it is opened.
    pub parent: Option<usize>,
    /// Who opens it.
    pub opener: Opener,
    /// What carries it.
    pub transport: Transport,
    /// Address given to connect(2).
    pub remote: SocketAddr,
    /// Source address that the destination's pod sees: the opener's, unless the host gave it another.
    pub seen_from: IpAddr,
    /// What the rules of the opener's pod do to it; none where the pod has none.
    pub near: Option<Crossing>,
    /// What the rules of the node do to it, where the node has rules and it goes through.
    pub node: Option<Crossing>,
    /// What the rules of the destination's pod do to it, or of the one that it is forwarded by; none where that is the same
    /// pod, or has none.
    pub far: Option<Crossing>,
    /// Where it ends.
    pub end: LegEnd,
}

impl Leg {
    /// The places whose rules it meets, the opener's first.
    pub fn crossings(&self) -> impl Iterator<Item = &Crossing> {
        self.near.iter().chain(&self.node).chain(&self.far)
    }
}

/// Who opens a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opener {
    /// Pod, or `node`.
    pub pod: String,
    /// Role of the process.
    pub role: Role,
    /// User and group of the socket.
    pub owner: (u32, u32),
    /// Source address.
    pub source: IpAddr,
    /// True when the source was chosen by bind(2).
    pub bound: bool,
    /// `SO_MARK` of the socket; 0 is none.
    pub mark: u32,
}

/// Where a leg ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegEnd {
    /// At a listener.
    Accepted {
        /// Pod.
        pod: String,
        /// Listener.
        listener: Listener,
        /// Its port.
        port: u16,
        /// Local end of the accepted socket: after REDIRECT the listener's, with TPROXY the original destination.
        local: SocketAddr,
        /// Destination before translation, where conntrack runs and the kernel tells it (not of UDP); the local end
        /// when nothing was translated.
        original_dst: Option<SocketAddr>,
        /// The proxy refuses it as a call of itself.
        refused_as_loop: bool,
    },
    /// At a port nobody listens on.
    Refused {
        /// Pod.
        pod: String,
        /// Local end that refused.
        local: SocketAddr,
    },
    /// Nowhere: the node knows no way to the address, and says so.
    Unreachable,
    /// Nowhere: its own pod has no route to the address. connect(2) fails, and no packet is made
    /// (`ip_route_connect` in net/ipv4/tcp_ipv4.c comes before the first packet, and so before any rule).
    Unrouted {
        /// Pod.
        pod: String,
    },
    /// In a pod whose rules drop its first packet without a word.
    Dropped {
        /// Pod.
        pod: String,
    },
    /// Not known: a rule the model can't follow stands in the way, or answers do not find their way back.
    Unknown {
        /// Why, in words.
        why: String,
    },
}

impl LegEnd {
    /// Pod it ends in, where that is known.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Accepted { pod, .. }
            | Self::Refused { pod, .. }
            | Self::Unrouted { pod }
            | Self::Dropped { pod } => Some(pod),
            Self::Unreachable | Self::Unknown { .. } => None,
        }
    }
}
