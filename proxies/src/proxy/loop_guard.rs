//! Refuses connections by which the proxy would call itself, and keeps the evidence.
//!
//! Three signs, each enough on its own:
//! 1. the destination before translation is one of the proxy's own interception listeners;
//! 2. the peer is one of the proxy's own open upstream sockets, opened by a listener not before this one on the path;
//! 3. the source address of its own inbound upstreams arrives at the inbound listener.
//!
//! In TPROXY mode the inbound listener is transparent. A connection then arrives at its destination untranslated, so only
//! an own listener's port is the first sign; and inbound upstreams have their client's address, so there is no third.
//! The second holds as it is, since TPROXY changes neither end. A mark is no sign: TPROXY gives the packets it takes the
//! same one as the proxy gives its upstreams.
//!
//! Direction matters for the second. A proxy that calls its own pod's address is legitimate: the outbound upstream
//! meets `! -d 127.0.0.1/32 -o lo --uid-owner 1337 -j ISTIO_IN_REDIRECT` and arrives at the inbound listener. So does a
//! call of the process itself, which no listener opened and which therefore is not in the books. Every other step back
//! into the proxy is refused: steps must follow the order DNS, gateway, outbound, inbound strictly, so a path has an end
//! whatever the rules are. Outbound to outbound and inbound to inbound are the loops of one step; inbound to outbound
//! would close a loop of two.
//!
//! The race: on loopback the kernel completes a handshake inside connect(2), so the accept loop could meet a connection
//! whose local address nobody noted yet. [`LoopGuard::open`] holds the lock over connect(2), getsockname(2) and the
//! insertion, and [`LoopGuard::check`] takes the same lock: whoever looks up a peer that exists finds it, on any number
//! of threads. The entry goes when the upstream socket is closed; an upstream reset before its other end was even
//! accepted is caught by the caller, which asks whether the accepted socket still has a peer.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::dial::{Dial, Dialed, Way};
use crate::record::Transport;
use crate::wire::SidecarPorts;

use super::{DNS, Direction};

/// A listener of the proxy, in the order of the only path a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A name is asked for: before any connection to it.
    Dns,
    Relay(Direction),
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Dns => DNS,
            Self::Relay(direction) => direction.name(),
        }
    }
}

/// An accepted connection, as far as the guard looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) transport: Transport,
    /// Listener it came to.
    pub(super) step: Step,
    pub(super) peer: SocketAddr,
    /// Local end after translation.
    pub(super) local: SocketAddr,
    /// Destination before translation; the local end where the kernel knows no other.
    pub(super) dst: SocketAddr,
}

/// Why a connection is a loop: what of the proxy itself it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It was addressed to the proxy's own interception listener.
    Listener(SocketAddr),
    /// Its peer is an upstream socket of the proxy itself.
    Upstream {
        peer: SocketAddr,
        opened_by: Step,
        arrived_at: Step,
    },
    /// Its peer has the source address of the proxy's inbound upstreams.
    Source(SocketAddr),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(dst) => {
                write!(f, "original destination {dst} is this proxy's own listener")
            }
            Self::Upstream {
                peer,
                opened_by,
                arrived_at,
            } => write!(
                f,
                "peer {peer} is this proxy's own open {} upstream, back at its {} listener",
                opened_by.name(),
                arrived_at.name()
            ),
            Self::Source(peer) => {
                write!(
                    f,
                    "peer {peer} has the source address of this proxy's own inbound upstreams"
                )
            }
        }
    }
}

/// What an upstream socket is told by. Over TCP both ends: one local port may serve several destinations. Over UDP the
/// local end, which is one socket's alone; where a datagram was going the kernel does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ends {
    Tcp {
        local: SocketAddr,
        remote: SocketAddr,
    },
    Udp {
        local: SocketAddr,
    },
}

impl Ends {
    fn new(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp { local, remote },
            Transport::Udp => Self::Udp { local },
        }
    }
}

/// Open upstream sockets and the listener on whose behalf each was opened.
type Books = Arc<Mutex<HashMap<Ends, Step>>>;

/// The guard of one proxy.
pub(super) struct LoopGuard {
    own_ports: HashSet<u16>,
    /// The inbound listener takes connections to any address.
    transparent: bool,
    own_sources: Vec<IpAddr>,
    open: Books,
}

/// Entry of an open upstream; to be dropped after its socket is closed.
pub(super) struct OpenUpstream {
    ends: Ends,
    open: Books,
}

impl Drop for OpenUpstream {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.ends);
    }
}

impl LoopGuard {
    /// Guard of the interception listeners at `listeners`; `sidecar` says how inbound connections come and go on.
    pub(super) fn new(listeners: &[SocketAddr], sidecar: Option<&SidecarPorts>) -> Self {
        let transparent = sidecar.is_some_and(|sidecar| sidecar.tproxy_mark.is_some());
        let sources = sidecar
            .filter(|_| !transparent)
            .map_or_else(Vec::new, |sidecar| sidecar.inbound_source.to_vec());
        Self {
            own_ports: listeners.iter().map(SocketAddr::port).collect(),
            transparent,
            own_sources: sources
                .into_iter()
                .filter(|ip| !ip.is_unspecified())
                .collect(),
            open: Books::default(),
        }
    }

    /// Evidence that the connection is a loop, if there is any.
    pub(super) fn check(&self, arrival: &Arrival) -> Option<Evidence> {
        // The far end of our upstream has its addresses swapped, and our remote is what was dialed before translation.
        let ends = Ends::new(arrival.transport, arrival.peer, arrival.dst);
        let opened_by = lock(&self.open).get(&ends).copied();
        let untranslated = arrival.dst == arrival.local;
        let own_port = self.own_ports.contains(&arrival.dst.port());
        let own_listener = match arrival.step {
            // Clients address these.
            Step::Dns | Step::Relay(Direction::Gateway) => false,
            Step::Relay(Direction::Inbound) if self.transparent => {
                own_port && (untranslated || is_local(arrival.dst.ip()))
            }
            // Only a REDIRECT leads here.
            Step::Relay(Direction::Outbound | Direction::Inbound) => {
                untranslated || own_port && is_local(arrival.dst.ip())
            }
        };
        judge(arrival, opened_by, own_listener, &self.own_sources)
    }

    /// Starts the connection to an upstream and notes it before anybody can have accepted it.
    pub(super) fn open<S: Dialed>(&self, step: Step, way: Way) -> (Dial<S>, Option<OpenUpstream>) {
        let mut open = lock(&self.open);
        let dial = Dial::start(way);
        let entry = dial.local().map(|local| {
            let ends = Ends::new(S::TRANSPORT, local, way.remote);
            open.insert(ends, step);
            OpenUpstream {
                ends,
                open: Arc::clone(&self.open),
            }
        });
        (dial, entry)
    }
}

/// The decision, from facts alone.
fn judge(
    arrival: &Arrival,
    opened_by: Option<Step>,
    dst_is_own_listener: bool,
    own_sources: &[IpAddr],
) -> Option<Evidence> {
    let Arrival { step, peer, .. } = *arrival;
    if dst_is_own_listener {
        return Some(Evidence::Listener(arrival.dst));
    }
    if let Some(opened_by) = opened_by.filter(|opened_by| *opened_by >= step) {
        return Some(Evidence::Upstream {
            peer,
            opened_by,
            arrived_at: step,
        });
    }
    let own_source = step == Step::Relay(Direction::Inbound) && own_sources.contains(&peer.ip());
    own_source.then_some(Evidence::Source(peer))
}

/// Whether an address is one of this namespace's.
fn is_local(ip: IpAddr) -> bool {
    // All of 127.0.0.0/8 is local without being listed.
    if ip.is_loopback() {
        return true;
    }
    let Ok(mut addresses) = getifaddrs() else {
        // Better to refuse a connection to one of our port numbers than to risk a loop.
        return true;
    };
    addresses.any(|interface| interface.address.as_ref().and_then(ip_of) == Some(ip))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn lock(open: &Mutex<HashMap<Ends, Step>>) -> MutexGuard<'_, HashMap<Ends, Step>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
