//! Follows a flow from connection to connection.

use std::net::{IpAddr, SocketAddr};

use hoplab_proxies::record::Role;

use super::{Listener, Turns, listener_at};
use crate::{
    interception::INBOUND_SOURCE,
    model::{self, Hook, Outcome, Packet, Traversal, redirect_landing},
    ports,
    rules::{Family, RuleSet, Table},
    topology::{Ask, Flow, Pod, Proxy, Sender, Target, Topology},
};

/// Legs of one flow; a rule set that sends a proxy to itself ends here at the latest.
const MOST_LEGS: usize = 64;

/// A source port that no rule of ours can name: the prediction does not know the kernel's choice.
const ANY_PORT: u16 = 0;

/// One TCP connection a flow is expected to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    /// Index of the leg on whose behalf it is opened.
    pub parent: Option<usize>,
    /// Who opens it.
    pub opener: Opener,
    /// Address given to connect(2).
    pub remote: SocketAddr,
    /// What nat OUTPUT of the opener's pod does; none where the pod has no rules.
    pub output: Option<Traversal>,
    /// What nat PREROUTING of the destination pod does; none without rules there, or on loopback.
    pub prerouting: Option<Traversal>,
    /// Where it ends.
    pub end: LegEnd,
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
        /// Local end of the accepted socket.
        local: SocketAddr,
        /// Destination before translation, where conntrack runs; the local end when nothing was translated.
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
    /// Nowhere: no pod has the address, or a rule the model can't follow stands in the way.
    Unknown {
        /// Why, in words.
        why: String,
    },
}

impl LegEnd {
    /// Pod it ends in, where that is known.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Accepted { pod, .. } | Self::Refused { pod, .. } => Some(pod),
            Self::Unknown { .. } => None,
        }
    }
}

/// What the next connection is opened with.
struct Call<'a> {
    parent: Option<usize>,
    opener: Opener,
    remote: SocketAddr,
    path: &'a str,
    /// Listener of the same proxy that this connection is opened for.
    on_behalf_of: Option<Listener>,
}

struct Walk<'a> {
    topology: &'a Topology,
    rules: &'a RuleSet,
    family: Family,
    turns: &'a mut Turns,
    legs: Vec<Leg>,
}

/// Predicts the legs of a flow, in the order they are opened. Every sidecar pod carries `rules`.
pub fn predict(topology: &Topology, rules: &RuleSet, flow: &Flow, turns: &mut Turns) -> Vec<Leg> {
    let family = rules.family;
    let at = |ip: IpAddr| SocketAddr::new(ip, flow.to.port());
    let localhost = LOCALHOST[usize::from(family == Family::V6)];
    let remote = match &flow.to {
        Target::Pod { pod, .. } => topology.pod(pod).map(|p| at(p.addr.of(family))),
        Target::Service { service, .. } => topology.service(service).map(|s| at(s.vip.of(family))),
        Target::Localhost { .. } => Some(at(localhost)),
        Target::Dns => topology.dns.as_ref().map(|d| at(d.addr.of(family))),
    };
    let Some(remote) = remote else {
        return Vec::new();
    };
    let mut walk = Walk {
        topology,
        rules,
        family,
        turns,
        legs: Vec::new(),
    };
    let opener = walk.sender(flow, remote.ip());
    walk.open(Call {
        parent: None,
        opener,
        remote,
        path: match &flow.ask {
            Ask::Get { path } => path,
            Ask::Lookup { .. } => unimplemented!("lookups"),
        },
        on_behalf_of: None,
    });
    walk.legs
}

/// Loopback, IPv4 and IPv6.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

impl Walk<'_> {
    fn sender(&self, flow: &Flow, remote: IpAddr) -> Opener {
        let name = flow.from.pod.as_deref();
        let pod = name.and_then(|p| self.topology.pod(p));
        let (role, owner) = match flow.from.sender {
            Sender::As { uid, gid } => (Role::Probe, (uid, gid)),
            Sender::App => {
                let app = pod.and_then(|p| p.app.as_ref());
                (Role::App, app.map_or((0, 0), |a| (a.uid, a.gid)))
            }
            Sender::Proxy => {
                let proxy = pod.and_then(|p| p.proxy.as_ref());
                (Role::Proxy, proxy.map_or((0, 0), Proxy::owner))
            }
        };
        self.opener(name.unwrap_or("node"), role, owner, remote)
    }

    /// The kernel takes a loopback source for a loopback destination, else the interface's address.
    fn opener(&self, pod: &str, role: Role, owner: (u32, u32), remote: IpAddr) -> Opener {
        let own = self
            .topology
            .pod(pod)
            .map_or(self.topology.network.node, |p| p.addr);
        let source = if remote.is_loopback() {
            remote
        } else {
            own.of(self.family)
        };
        Opener {
            pod: pod.to_string(),
            role,
            owner,
            source,
            bound: false,
        }
    }

    fn open(&mut self, call: Call) {
        if self.legs.len() >= MOST_LEGS {
            return;
        }
        let index = self.legs.len();
        let leg = self.leg(&call);
        let end = leg.end.clone();
        self.legs.push(leg);
        if let LegEnd::Accepted {
            pod,
            listener,
            original_dst,
            refused_as_loop: false,
            local,
        } = end
        {
            self.serve(
                index,
                &pod,
                listener,
                original_dst.unwrap_or(local),
                call.path,
            );
        }
    }

    fn leg(&self, call: &Call) -> Leg {
        let opener_pod = self.topology.pod(&call.opener.pod);
        let remote = call.remote;
        let at_home =
            remote.ip().is_loopback() || opener_pod.is_some_and(|p| p.addr.contains(remote.ip()));
        let source = SocketAddr::new(call.opener.source, ANY_PORT);
        let output = opener_pod.filter(|p| p.is_sidecar()).map(|p| {
            let out = if at_home { "lo" } else { p.interface.as_str() };
            let packet = Packet::tcp(source, remote)
                .leaving_by(out)
                .owned_by(call.opener.owner.0, call.opener.owner.1);
            model::evaluate(self.rules, Table::Nat, Hook::Output, &packet)
        });
        let mut leg = Leg {
            parent: call.parent,
            opener: call.opener.clone(),
            remote,
            output,
            prerouting: None,
            end: LegEnd::Unknown { why: String::new() },
        };
        leg.end = match leg.output.as_ref().map(|t| &t.decided) {
            Some(Outcome::Unknown { why, .. }) => LegEnd::Unknown { why: why.clone() },
            Some(other)
                if !matches!(other, Outcome::Accepted { .. } | Outcome::Redirected { .. }) =>
            {
                LegEnd::Unknown {
                    why: other.to_string(),
                }
            }
            Some(Outcome::Redirected { ports, .. }) => {
                let port = ports.map_or(remote.port(), |p| p.first());
                let landing = redirect_landing(Hook::Output, self.family, None);
                match (opener_pod, landing) {
                    (Some(pod), Some(ip)) => {
                        self.arrive(pod, SocketAddr::new(ip, port), remote, call)
                    }
                    _ => LegEnd::Unknown {
                        why: "nowhere to redirect to".into(),
                    },
                }
            }
            _ if at_home => match opener_pod {
                Some(pod) => self.arrive(pod, remote, remote, call),
                None => LegEnd::Unknown {
                    why: "the node serves nothing".into(),
                },
            },
            _ => match self.topology.pod_at(remote.ip()) {
                Some(pod) => self.cross(pod, source, &mut leg.prerouting, call),
                None => LegEnd::Unknown {
                    why: format!("no pod has the address {}", remote.ip()),
                },
            },
        };
        leg
    }

    /// Into another pod, through its PREROUTING.
    fn cross(
        &self,
        pod: &Pod,
        source: SocketAddr,
        prerouting: &mut Option<Traversal>,
        call: &Call,
    ) -> LegEnd {
        let remote = call.remote;
        if !pod.is_sidecar() {
            return self.arrive(pod, remote, remote, call);
        }
        let packet = Packet::tcp(source, remote).coming_in(pod.interface.as_str());
        let traversal = model::evaluate(self.rules, Table::Nat, Hook::Prerouting, &packet);
        let end = match &traversal.decided {
            Outcome::Accepted { .. } => self.arrive(pod, remote, remote, call),
            Outcome::Redirected { ports, .. } => {
                let port = ports.map_or(remote.port(), |p| p.first());
                let primary = pod.addr.of(self.family);
                match redirect_landing(Hook::Prerouting, self.family, Some(primary)) {
                    Some(ip) => self.arrive(pod, SocketAddr::new(ip, port), remote, call),
                    None => LegEnd::Unknown {
                        why: "nowhere to redirect to".into(),
                    },
                }
            }
            Outcome::Unknown { why, .. } => LegEnd::Unknown { why: why.clone() },
            other => LegEnd::Unknown {
                why: other.to_string(),
            },
        };
        *prerouting = Some(traversal);
        end
    }

    /// At a local address of a pod.
    fn arrive(&self, pod: &Pod, local: SocketAddr, dst: SocketAddr, call: &Call) -> LegEnd {
        let name = pod.name.clone();
        let Some(listener) = listener_at(pod, local.port(), local.ip().is_loopback()) else {
            return LegEnd::Refused { pod: name, local };
        };
        LegEnd::Accepted {
            refused_as_loop: refused_as_loop(pod, listener, dst, call),
            pod: name,
            listener,
            local,
            original_dst: pod.is_sidecar().then_some(dst),
        }
    }

    /// What the process behind a listener opens in turn.
    fn serve(&mut self, parent: usize, pod: &str, listener: Listener, dst: SocketAddr, path: &str) {
        let Some(pod) = self.topology.pod(pod) else {
            return;
        };
        match listener {
            Listener::App => self.serve_app(parent, pod, path),
            Listener::Inbound => {
                let mut opener = self.proxy_opener(pod, dst.ip());
                opener.source = INBOUND_SOURCE[usize::from(self.family == Family::V6)];
                opener.bound = true;
                self.open(Call {
                    parent: Some(parent),
                    opener,
                    remote: dst,
                    path,
                    on_behalf_of: Some(listener),
                });
            }
            Listener::Outbound => {
                let remote = match self.vip(dst) {
                    Some(endpoints) => self.turns.take(&pod.name, dst, &endpoints),
                    None => Some(dst),
                };
                self.forward(parent, pod, remote, path, listener);
            }
            Listener::Gateway => {
                let Some(vip) = gateway_vip(self.topology, pod, self.family) else {
                    return;
                };
                let endpoints = self.vip(vip).unwrap_or_default();
                let remote = self.turns.take(&pod.name, vip, &endpoints);
                self.forward(parent, pod, remote, path, listener);
            }
            Listener::Proxy | Listener::Admin => {}
        }
    }

    fn serve_app(&mut self, parent: usize, pod: &Pod, path: &str) {
        let Some(app) = pod.app.as_ref().filter(|_| path != "/health") else {
            return;
        };
        for call in &app.calls {
            if let Some(service) = self.topology.service(&call.service) {
                let remote = SocketAddr::new(service.vip.of(self.family), service.port);
                let opener = self.opener(&pod.name, Role::App, (app.uid, app.gid), remote.ip());
                self.open(Call {
                    parent: Some(parent),
                    opener,
                    remote,
                    path: &call.path,
                    on_behalf_of: None,
                });
            }
        }
    }

    fn forward(
        &mut self,
        parent: usize,
        pod: &Pod,
        remote: Option<SocketAddr>,
        path: &str,
        listener: Listener,
    ) {
        if let Some(remote) = remote {
            self.open(Call {
                parent: Some(parent),
                opener: self.proxy_opener(pod, remote.ip()),
                remote,
                path,
                on_behalf_of: Some(listener),
            });
        }
    }

    fn proxy_opener(&self, pod: &Pod, remote: IpAddr) -> Opener {
        let owner = pod.proxy.as_ref().map_or((0, 0), Proxy::owner);
        self.opener(&pod.name, Role::Proxy, owner, remote)
    }

    /// Endpoints behind a virtual address.
    fn vip(&self, addr: SocketAddr) -> Option<Vec<SocketAddr>> {
        let service = self
            .topology
            .service_at(addr.ip())
            .filter(|s| s.port == addr.port())?;
        let pods = service
            .endpoints
            .iter()
            .filter_map(|e| self.topology.pod(e));
        Some(
            pods.map(|p| SocketAddr::new(p.addr.of(self.family), service.port))
                .collect(),
        )
    }
}

/// The service address a gateway's listener stands for.
pub fn gateway_vip(topology: &Topology, pod: &Pod, family: Family) -> Option<SocketAddr> {
    match pod.proxy.as_ref()? {
        Proxy::Gateway { service, .. } => {
            let service = topology.service(service)?;
            Some(SocketAddr::new(service.vip.of(family), service.port))
        }
        Proxy::Sidecar { .. } => None,
    }
}

/// The proxy's own rule: steps go gateway, outbound, inbound, never back, and never to its own ports.
fn refused_as_loop(pod: &Pod, listener: Listener, dst: SocketAddr, call: &Call) -> bool {
    if !matches!(listener, Listener::Inbound | Listener::Outbound) {
        return false;
    }
    let own_port = matches!(dst.port(), ports::INBOUND | ports::OUTBOUND);
    let own_address = pod.addr.contains(dst.ip()) || dst.ip().is_loopback();
    let own_source = listener == Listener::Inbound && INBOUND_SOURCE.contains(&call.opener.source);
    let own_upstream = call.opener.pod == pod.name
        && match call.on_behalf_of {
            Some(Listener::Inbound) => true,
            Some(Listener::Outbound) => listener == Listener::Outbound,
            _ => false,
        };
    (own_port && own_address) || own_source || own_upstream
}
