//! Follows one connection from pod to pod.

use std::net::SocketAddr;

use hoplab_proxies::record::Transport;

use super::{
    Event, Hop, Known, Leg, Namespace, Stretch, observed::Observed, of_journey, of_packet,
};
use crate::{
    evidence::Window,
    model::{Journey, JourneyEnd, Packet, journey},
    predict::World,
    topology::{NODE, Pod},
    traced::{PodTrace, TracedPacket},
};

/// Stands for a source port that nobody told.
const ANY_PORT: u16 = 40_000;

/// A lab under the rules its pods hold, and what was observed there.
pub(super) struct Walk<'a> {
    pub world: &'a World<'a>,
    pub window: &'a Window,
    /// Nothing was observed: ends are those that the model tells.
    pub imagined: bool,
}

/// A connection within one pod with rules.
pub(super) struct Crossing<'a> {
    pub pod: &'a Pod,
    pub first: Packet,
    pub way: Journey,
    pub traced: Option<&'a TracedPacket>,
}

impl<'a> Walk<'a> {
    /// The leg of a connection, without numbers.
    pub fn leg(&self, observed: &Observed<'a>) -> Leg {
        let topology = self.world.topology;
        let here = topology.pod(&observed.opener.pod);
        let first = first_packet(observed);
        let near = self.crossing(here, first.clone(), observed);
        let mut there = vec![Stretch {
            pod: observed.opener.pod.clone(),
            hops: vec![self.connect(observed, near.as_ref())],
        }];
        let to = match &near {
            Some(near) => {
                there[0].hops.extend(self.hops(near));
                end_of(&near.way)
            }
            None => Some((self.without_rules(here, &first), first.dst)),
        };
        // Where the model has lost it, the log of the one that accepted it goes on.
        let accepted_in = observed.accepted.map(|(end, _)| end.pod.as_str());
        let (source, to) = match self.through_node(observed, &first) {
            Some((source, sent)) => (source, Some((true, sent))),
            None => (first.src, to),
        };
        let far_pod = match to {
            Some((true, to)) => topology.next_hop(here, to.ip()),
            Some((false, _)) => None,
            None => accepted_in.and_then(|it| {
                let pod = topology.pod(it)?;
                Some((pod, pod.interface.to_string()))
            }),
        };
        let hairpin = source != first.src;
        let far_pod = far_pod.filter(|(pod, _)| {
            hairpin || Some(pod.name.as_str()) != here.map(|it| it.name.as_str())
        });
        let leaves = far_pod.is_some();
        let node = observed.predicted.and_then(|it| it.node.as_ref());
        if let Some(node) = node {
            there.push(self.at_node(&node.first));
        }
        let far = far_pod.and_then(|(pod, interface)| {
            let packet = Packet {
                src: source,
                dst: to.map_or(first.dst, |(_, to)| to),
                owner: None,
                mark: 0,
                ..first.clone()
            };
            self.crossing(Some(pod), packet.coming_in(interface.as_str()), observed)
        });
        if let Some(far) = &far {
            there.push(Stretch {
                pod: far.pod.name.clone(),
                hops: self.hops(far),
            });
        }
        if let Some((pod, hop)) = self.end(observed, far.as_ref().or(near.as_ref())) {
            match there.last_mut().filter(|it| it.pod == pod) {
                Some(last) => last.hops.push(hop),
                None => there.push(Stretch {
                    pod,
                    hops: vec![hop],
                }),
            }
        }
        let answered = matches!(
            there
                .last()
                .and_then(|it| it.hops.last())
                .map(|it| &it.event),
            Some(Event::Accept { .. } | Event::Refused { .. })
        );
        let back = match answered {
            true => {
                // The node, or what lies beyond it, answers as well.
                let elsewhere = leaves || to.is_some_and(|(leaves, _)| leaves);
                let mut back = self.back(observed, near.as_ref(), far.as_ref(), elsewhere);
                if let Some(answer) = node.and_then(|it| it.answer.as_ref()) {
                    back.insert(usize::from(far.is_some()), self.at_node(answer));
                }
                back
            }
            false => Vec::new(),
        };
        Leg {
            number: 0,
            parent: observed.parent.map(|it| it + 1),
            opener: observed.opener.clone(),
            transport: observed.transport,
            source: observed.source,
            destination: observed.destination,
            mark: observed.mark,
            there,
            back,
        }
    }

    /// Source and destination with which the node sends it on, where the node has rules.
    fn through_node(
        &self,
        observed: &Observed<'a>,
        first: &Packet,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let way = &observed.predicted?.node.as_ref()?.first;
        let JourneyEnd::Sent { to } = &way.end else {
            return None;
        };
        let mut source = first.src;
        source.set_ip(way.passages.last()?.left.src.ip());
        Some((source, *to))
    }

    /// The hops in the node, which is not traced: counters and conntrack say whether the model is right.
    fn at_node(&self, way: &Journey) -> Stretch {
        Stretch {
            pod: NODE.to_owned(),
            hops: of_journey(self.world.rules_of(None), way),
        }
    }

    /// Whether a connection leaves a pod that has no rules, or the node.
    fn without_rules(&self, here: Option<&Pod>, first: &Packet) -> bool {
        let to = first.dst.ip();
        !to.is_loopback() && here.is_none_or(|pod| !pod.addr.contains(to))
    }

    /// None in a pod without rules.
    fn crossing(
        &self,
        pod: Option<&'a Pod>,
        first: Packet,
        observed: &Observed<'a>,
    ) -> Option<Crossing<'a>> {
        let pod = pod.filter(|it| it.is_sidecar())?;
        let way = journey(
            self.world.rules_of(Some(pod)),
            &self.world.host(Some(pod)),
            first.clone(),
        );
        let traced = match observed.packets.iter().find(|it| it.pod == pod.name) {
            Some(packets) => packets.first(),
            None => self.packets(pod).find(|it| is_first(it, &first)),
        };
        Some(Crossing {
            pod,
            first,
            way,
            traced,
        })
    }

    fn trace(&self, pod: &Pod) -> Option<&'a PodTrace> {
        self.window.traces.get(&pod.name)
    }

    fn hops(&self, crossing: &Crossing<'_>) -> Vec<Hop> {
        self.of(
            crossing.pod,
            crossing.traced,
            Known {
                journey: Some(&crossing.way),
                connmark: 0,
                owner: crossing.first.owner,
            },
        )
    }

    /// The hops of a packet in a pod: the kernel's, where it was traced, else the model's.
    pub fn of(&self, pod: &Pod, traced: Option<&TracedPacket>, known: Known<'_>) -> Vec<Hop> {
        let rules = self.world.rules_of(Some(pod));
        let host = self.world.host(Some(pod));
        match (traced, self.trace(pod)) {
            (Some(packet), Some(trace)) => {
                let namespace = Namespace {
                    rules,
                    host: Some(&host),
                    interfaces: &trace.interfaces,
                    text: &|_| None,
                };
                of_packet(&namespace, packet, &known)
            }
            _ => known
                .journey
                .map(|it| of_journey(rules, it))
                .unwrap_or_default(),
        }
    }
    /// What was traced in a pod.
    pub fn packets(&self, pod: &Pod) -> impl Iterator<Item = &'a TracedPacket> {
        self.trace(pod).into_iter().flat_map(|it| &it.packets)
    }
}

/// Whether a traced packet is the first of a connection that nobody predicted.
fn is_first(traced: &TracedPacket, first: &Packet) -> bool {
    let header = traced.first();
    header.source_end() == first.src
        && header.destination_end() == first.dst
        && header.protocol == first.protocol.number()
        && header.tcp.is_none_or(|tcp| tcp.opens())
}

/// Whether the first packet leaves the pod, and where to; none when it goes nowhere that is known.
fn end_of(way: &Journey) -> Option<(bool, SocketAddr)> {
    match &way.end {
        JourneyEnd::Sent { to } => Some((true, *to)),
        JourneyEnd::Delivered { at, .. } => Some((false, *at)),
        JourneyEnd::Gone(_) => Some((false, SocketAddr::from(([0, 0, 0, 0], 0)))),
        JourneyEnd::Unknown(_) => None,
    }
}
fn first_packet(observed: &Observed<'_>) -> Packet {
    let source = observed.source;
    let source = SocketAddr::new(source.address, source.port.unwrap_or(ANY_PORT));
    let packet = match observed.transport {
        Transport::Tcp => Packet::tcp(source, observed.destination),
        Transport::Udp => Packet::udp(source, observed.destination),
    };
    packet
        .owned_by(observed.opener.uid, observed.opener.gid)
        .marked(observed.mark)
}
