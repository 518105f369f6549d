//! Follows a flow from connection to connection.

use std::net::{IpAddr, SocketAddr};

use hoplab_proxies::record::{Role, Transport};

use super::{
    Crossing, Leg, LegEnd, Listener, Opener, Turns, World,
    arrive::{gone, no_link, unknown},
    crossing::{Packets, established, source, turned},
    node::left,
};
use crate::{
    model::{Journey, JourneyEnd, Packet, journey},
    rules::{CtState, Family, Protocol, TcpFlags},
    topology::{Ask, Flow, NODE, Pod, Sender, Target},
};

/// Legs of one flow; a rule set that sends a proxy to itself ends here at the latest.
const MOST_LEGS: usize = 64;

/// A source port of the range kernels pick from, that no rule names: the prediction does not know the kernel's choice.
pub const ANY_PORT: u16 = 40_000;

/// What the next connection is opened with.
pub(super) struct Call<'a> {
    pub parent: Option<usize>,
    pub opener: Opener,
    pub transport: Transport,
    pub remote: SocketAddr,
    pub ask: &'a Ask,
    /// Listener of the same proxy that this connection is opened for.
    pub on_behalf_of: Option<Listener>,
    /// Source port, where the flow names it.
    pub source_port: Option<u16>,
}

pub(super) struct Walk<'a> {
    pub world: &'a World<'a>,
    pub turns: &'a mut Turns,
    pub legs: Vec<Leg>,
}

/// Predicts the legs of a flow, in the order they are opened.
pub fn predict(world: &World, flow: &Flow, turns: &mut Turns) -> Vec<Leg> {
    let family = world.family();
    let topology = world.topology;
    let at = |ip: IpAddr| SocketAddr::new(ip, flow.to.port());
    let remote = match &flow.to {
        Target::Pod { pod, .. } => topology.pod(pod).map(|p| at(p.addr.of(family))),
        Target::Service { service, .. } => topology.service(service).map(|s| at(s.vip.of(family))),
        Target::Localhost { .. } => Some(at(world.localhost())),
        Target::Dns => world.dns(),
        Target::Address(address) => Some(*address),
    };
    let Some(remote) = remote else {
        return Vec::new();
    };
    let mut walk = Walk {
        world,
        turns,
        legs: Vec::new(),
    };
    let opener = walk.sender(flow, remote.ip());
    walk.open(Call {
        parent: None,
        opener,
        transport: flow.ask.transport(),
        remote,
        ask: &flow.ask,
        on_behalf_of: None,
        source_port: flow.connection.source_port,
    });
    walk.legs
}

impl Walk<'_> {
    fn sender(&self, flow: &Flow, remote: IpAddr) -> Opener {
        let name = flow.from.pod.as_deref();
        let pod = name.and_then(|p| self.world.topology.pod(p));
        let (role, owner) = match flow.from.sender {
            Sender::As { uid, gid, .. } => (Role::Probe, (uid, gid)),
            Sender::App => {
                let app = pod.and_then(|p| p.app.as_ref());
                (Role::App, app.map_or((0, 0), |a| (a.uid, a.gid)))
            }
            Sender::Proxy => (
                Role::Proxy,
                pod.map_or((0, 0), |p| self.world.proxy_owner(p)),
            ),
        };
        let opener = self.opener(name.unwrap_or(NODE), role, owner, remote);
        let client = flow.connection.source.as_ref();
        match client.and_then(|it| self.world.topology.pod(it)) {
            None => opener,
            Some(client) => Opener {
                source: client.addr.of(self.world.family()),
                bound: true,
                ..opener
            },
        }
    }

    /// The kernel takes a loopback source for a loopback destination, else the interface's address.
    pub fn opener(&self, pod: &str, role: Role, owner: (u32, u32), remote: IpAddr) -> Opener {
        let topology = self.world.topology;
        let own = topology.pod(pod).map_or(topology.network.node, |p| p.addr);
        let at_node = pod == NODE && self.world.is_node(remote);
        let source = match remote.is_loopback() || at_node {
            true => remote,
            false => own.of(self.world.family()),
        };
        Opener {
            pod: pod.to_string(),
            role,
            owner,
            source,
            bound: false,
            mark: self.world.mark_of(pod, role),
        }
    }

    pub fn open(&mut self, call: Call) {
        if self.legs.len() >= MOST_LEGS {
            return;
        }
        let index = self.legs.len();
        let leg = self.leg(&call);
        self.legs.push(leg);
        self.serve(index, &call);
    }

    fn leg(&self, call: &Call) -> Leg {
        let world = self.world;
        let here = world.topology.pod(&call.opener.pod);
        let first = first_packet(call, world.midway);
        let remote = call.remote.ip();
        if let Some(pod) = here.filter(|it| !world.has_route(it, remote, first.mark)) {
            let pod = pod.name.clone();
            return bare(call, LegEnd::Unrouted { pod });
        }
        let near = journey(world.rules_of(here), &world.host(here), first.clone());
        let known = here.and_then(|pod| self.known(pod, call.transport, &near, &first));
        let is_known = known.is_some();
        let near = known.unwrap_or(near);
        let mut node = None;
        let mut far = None;
        let mut seen_from = call.opener.source;
        let end = match &near.end {
            // The node answers at more addresses than the model knows, and has no rules for them.
            _ if here.is_none() && world.is_node(call.remote.ip()) => {
                self.at_node(call.remote, call.transport)
            }
            // connect(2) asks for a route before any rule is asked, and the node has none to a VIP.
            _ if self.has_no_route(here, call.remote) => LegEnd::Unreachable,
            JourneyEnd::Delivered { at, .. } => self.arrive(here, &near, *at, call),
            JourneyEnd::Sent { .. } => {
                let left = left(&near, &first);
                match self.through_node(here, left, call, &mut node) {
                    Err(end) => end,
                    Ok(left) => match world.topology.next_hop(here, left.dst.ip()) {
                        Some((pod, _)) if !pod.plugged => no_link(pod),
                        Some((pod, interface)) => {
                            seen_from = match world.has_rules(None) {
                                true => left.src.ip(),
                                false => world.seen_from(&call.opener, call.transport, pod),
                            };
                            let packet = Packet {
                                src: SocketAddr::new(seen_from, first.src.port()),
                                ..left
                            }
                            .coming_in(interface.as_str());
                            let way = journey(
                                world.rules_of(Some(pod)),
                                &world.host(Some(pod)),
                                packet.clone(),
                            );
                            let end = match &way.end {
                                JourneyEnd::Delivered { at, .. } => {
                                    self.arrive(Some(pod), &way, *at, call)
                                }
                                JourneyEnd::Sent { to } if pod.relays => {
                                    self.beyond(pod, &way, *to, call)
                                }
                                other => gone(pod, other, call.transport),
                            };
                            far = Some((pod, packet, way));
                            end
                        }
                        None if world.is_node(left.dst.ip()) => {
                            self.at_node(left.dst, call.transport)
                        }
                        None => LegEnd::Unreachable,
                    },
                }
            }
            other => here.map_or_else(|| unknown(other), |pod| gone(pod, other, call.transport)),
        };
        let mut leg = Leg {
            seen_from,
            ..bare(call, end)
        };
        let at_node = leg.end.pod() == Some(NODE);
        let leaves = far.is_some() || leg.end == LegEnd::Unreachable || at_node;
        if world.has_rules(here) && !self.has_no_route(here, call.remote) {
            // The node itself leaves nothing when it calls itself.
            let answers_here = !leaves || (here.is_none() && at_node);
            let mut crossing = self.crossing(&leg, here, first, near, answers_here);
            crossing.known = is_known;
            leg.near = Some(crossing);
        }
        if let Some((packet, way)) = node {
            let mut crossing = self.crossing(&leg, None, packet, way, at_node);
            if leg.end == LegEnd::Unreachable {
                crossing.ends_at_first_hook();
            }
            leg.node = Some(crossing);
        }
        if let Some((pod, packet, way)) = far.filter(|(pod, ..)| pod.is_sidecar()) {
            let answers_here = leg.end.pod() == Some(&pod.name);
            leg.far = Some(self.crossing(&leg, Some(pod), packet, way, answers_here));
        }
        Self::settle(&mut leg, call.source_port.unwrap_or(ANY_PORT));
        leg
    }

    /// A connection in one of its pods, or with none in the node; `answers_here` when the other end is in it.
    fn crossing(
        &self,
        leg: &Leg,
        pod: Option<&Pod>,
        first: Packet,
        way: Journey,
        answers_here: bool,
    ) -> Crossing {
        let world = self.world;
        let orphan = |packet: &Packet| Packet {
            owner: None,
            ..packet.clone()
        };
        let to = turned(&way, &first).map_or(first.dst, |t| t.to);
        let back = Packet {
            src: to,
            dst: source(&way, &first)
                .map_or(first.src, |it| SocketAddr::new(it.to, first.src.port())),
            in_iface: None,
            out_iface: None,
            owner: None,
            mark: 0,
            ..established(first.clone())
        };
        let comes_in = |packet: Packet| {
            let interface = world.comes_in_by(pod, packet.src.ip());
            packet.coming_in(&interface)
        };
        let next = established(first.clone());
        let (answer, answers, later) = match (&leg.end, answers_here) {
            // The first packet is sent again until the word arrives: the node says it only so often (`ip_error` in
            // net/ipv4/route.c), and a socket that is busy with its first packet does not hear it (`tcp_v6_err`).
            (LegEnd::Unreachable | LegEnd::Dropped { .. }, _) => {
                (None, Vec::new(), vec![first.clone()])
            }
            (LegEnd::Unknown { .. } | LegEnd::Unrouted { .. }, _) => (None, Vec::new(), Vec::new()),
            // A reset comes from no socket.
            (LegEnd::Refused { .. }, true) => (Some(back), Vec::new(), Vec::new()),
            (LegEnd::Refused { .. }, false) => (Some(comes_in(back)), Vec::new(), Vec::new()),
            (LegEnd::Accepted { .. }, false) => {
                let back = comes_in(back);
                (Some(back.clone()), vec![back], vec![orphan(&next), next])
            }
            (LegEnd::Accepted { listener, .. }, true) => {
                let owned = Packet {
                    // Rules of the node do not ask for owners.
                    owner: pod.map(|pod| self.owner_of(*listener, pod)),
                    ..back.clone()
                };
                let later = match next.in_iface {
                    None => vec![orphan(&next), next],
                    Some(_) => vec![next],
                };
                (Some(owned.clone()), vec![owned, back], later)
            }
        };
        let told = (leg.end == LegEnd::Unreachable).then(|| {
            let node = world.topology.network.node.of(world.family());
            let packet = Packet {
                protocol: Protocol::from_name(match world.family() {
                    Family::V4 => "icmp",
                    Family::V6 => "ipv6-icmp",
                })
                .unwrap_or(Protocol::Tcp),
                src: SocketAddr::new(node, 0),
                dst: SocketAddr::new(first.src.ip(), 0),
                out_iface: None,
                owner: None,
                mark: 0,
                state: CtState::Related,
                tcp_flags: TcpFlags::NONE,
                ..first.clone()
            };
            comes_in(packet)
        });
        // Rules of nat alone know first packets only.
        let tproxy = pod.and_then(|pod| world.interception_of(&pod.name).tproxy);
        let first_only = world.only_nat(pod) && tproxy.is_none();
        let packets = match first_only {
            true => Packets::of_first(first, answer),
            false => Packets {
                first,
                later,
                answer,
                answers,
                told,
            },
        };
        let mut crossing = Crossing::new(
            pod.map_or(NODE, |pod| &pod.name),
            world.rules_of(pod),
            &world.host(pod),
            packets,
            way,
        );
        crossing.tracked = world.tracks(pod);
        crossing
    }

    /// A connection whose answers are lost is none; what happens then, the prediction does not know.
    fn settle(leg: &mut Leg, port: u16) {
        let opener = SocketAddr::new(leg.opener.source, port);
        let seen = SocketAddr::new(leg.seen_from, port);
        let far = leg.far.as_ref().and_then(|it| it.lost(seen, true));
        let node = || leg.node.as_ref().and_then(|it| it.lost(opener, true));
        let near = || leg.near.as_ref().and_then(|it| it.lost(opener, false));
        if let Some(why) = far.or_else(node).or_else(near) {
            leg.end = LegEnd::Unknown { why };
        }
        let open = matches!(leg.end, LegEnd::Unknown { .. });
        let all = leg.near.iter_mut().chain(&mut leg.node);
        for crossing in all.chain(&mut leg.far) {
            crossing.open = open;
        }
    }

    /// The user and group that the sockets of a listener were made with.
    fn owner_of(&self, listener: Listener, pod: &Pod) -> (u32, u32) {
        match (listener.role(), &pod.app) {
            (Role::App, Some(app)) => (app.uid, app.gid),
            _ => self.world.proxy_owner(pod),
        }
    }
}

/// A leg that meets no rules.
fn bare(call: &Call, end: LegEnd) -> Leg {
    Leg {
        parent: call.parent,
        opener: call.opener.clone(),
        transport: call.transport,
        remote: call.remote,
        seen_from: call.opener.source,
        near: None,
        node: None,
        far: None,
        end,
    }
}

fn first_packet(call: &Call, midway: bool) -> Packet {
    let port = call.source_port.unwrap_or(ANY_PORT);
    let source = SocketAddr::new(call.opener.source, port);
    let packet = match call.transport {
        Transport::Tcp if midway => Packet {
            tcp_flags: TcpFlags::from_names("ACK").unwrap_or(TcpFlags::NONE),
            ..Packet::tcp(source, call.remote)
        },
        Transport::Tcp => Packet::tcp(source, call.remote),
        Transport::Udp => Packet::udp(source, call.remote),
    };
    packet
        .owned_by(call.opener.owner.0, call.opener.owner.1)
        .marked(call.opener.mark)
}
