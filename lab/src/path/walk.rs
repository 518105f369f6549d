//! Follows one connection from pod to pod.

use std::net::SocketAddr;

use hoplab_proxies::record::Transport;

use super::{
    Event, Hop, Known, Leg, Namespace, Process, Stretch, Witness, observed::Observed, of_journey,
    of_packet,
};
use crate::{
    evidence::Window,
    model::{self, Journey, JourneyEnd, Packet, journey},
    predict::{LegEnd, World, established, follow, is_unreachable, turned, zone_of},
    rules::TcpFlags,
    topology::Pod,
    traced::{PodTrace, TracedPacket},
};

/// Stands for a source port that nobody told.
const ANY_PORT: u16 = 40_000;

/// A lab under the rules its pods hold, and what was observed there.
pub(super) struct Walk<'a> {
    pub world: &'a World<'a>,
    pub window: &'a Window,
}

/// A connection within one pod with rules.
struct Crossing<'a> {
    pod: &'a Pod,
    first: Packet,
    way: Journey,
    traced: Option<&'a TracedPacket>,
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
        let far_pod = match to {
            Some((true, to)) => topology.pod_at(to.ip()),
            Some((false, _)) => None,
            None => accepted_in.and_then(|it| topology.pod(it)),
        };
        let far_pod =
            far_pod.filter(|pod| Some(pod.name.as_str()) != here.map(|it| it.name.as_str()));
        let far = far_pod.and_then(|pod| {
            let packet = Packet {
                dst: to.map_or(first.dst, |(_, to)| to),
                owner: None,
                mark: 0,
                ..first.clone()
            };
            self.crossing(
                Some(pod),
                packet.coming_in(pod.interface.as_str()),
                observed,
            )
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
            true => self.back(observed, near.as_ref(), far.as_ref(), far_pod.is_some()),
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
    fn of(&self, pod: &Pod, traced: Option<&TracedPacket>, known: Known<'_>) -> Vec<Hop> {
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

    fn connect(&self, observed: &Observed<'_>, near: Option<&Crossing<'_>>) -> Hop {
        let mut hop = Hop::of(Event::Connect {
            process: observed.opener.clone(),
            failed: observed.failed(),
        });
        let seen = [
            (observed.opened.is_some(), Witness::Log),
            (
                observed.entries.iter().any(Option::is_some),
                Witness::Conntrack,
            ),
            (near.is_some_and(|it| it.traced.is_some()), Witness::Trace),
            (observed.predicted.is_some(), Witness::Model),
        ];
        hop.witnesses
            .extend(seen.iter().filter(|it| it.0).map(|it| it.1));
        hop
    }

    /// Where it ends: what a log says, else what is predicted.
    fn end(&self, observed: &Observed<'_>, last: Option<&Crossing<'_>>) -> Option<(String, Hop)> {
        let predicted = observed.predicted.map(|it| &it.end);
        if let Some((end, accepted)) = observed.accepted {
            let process = Process {
                pod: end.pod.clone(),
                role: Some(end.role),
                uid: accepted.owner.uid,
                gid: accepted.owner.gid,
                pid: Some(end.pid),
            };
            let refused_as_loop = end.closed.as_ref().is_some_and(|it| {
                matches!(
                    it.outcome,
                    hoplab_proxies::record::CloseOutcome::LoopRefused(_)
                )
            });
            let mut hop = Hop::of(Event::Accept {
                process,
                listener: accepted.listener.port(),
                at: accepted.local,
                original: accepted.original_dst.addr(),
                refused_as_loop,
            });
            hop.witnesses.insert(Witness::Log);
            if matches!(predicted, Some(LegEnd::Accepted { pod, local, port, .. })
                if *pod == end.pod && *local == accepted.local && *port == accepted.listener.port())
            {
                hop.witnesses.insert(Witness::Model);
            }
            let delivered = last.filter(|it| it.pod.name == end.pod);
            let delivered = delivered
                .and_then(|it| it.traced)
                .map(|it| it.last().destination_end());
            if delivered == Some(accepted.local) {
                hop.witnesses.insert(Witness::Trace);
            }
            return Some((end.pod.clone(), hop));
        }
        let failed = observed.failed();
        let closed = observed.opened.and_then(|(end, _)| end.closed.as_ref());
        let refused = failed.as_deref() == Some("ECONNREFUSED")
            || closed.is_some_and(|it| {
                matches!(&it.outcome, hoplab_proxies::record::CloseOutcome::Error(words) if words.contains("ECONNREFUSED"))
            });
        let unreachable = failed.as_deref().is_some_and(is_unreachable);
        let (pod, event, log) = match predicted {
            Some(LegEnd::Refused { pod, local }) => {
                (pod.clone(), Event::Refused { at: *local }, refused)
            }
            Some(LegEnd::Unreachable) => ("node".to_owned(), Event::Unreachable, unreachable),
            Some(LegEnd::Accepted {
                pod,
                listener,
                port,
                local,
                original_dst,
                refused_as_loop,
            }) => {
                let process = self.listener(pod, *listener);
                let event = Event::Accept {
                    process,
                    listener: *port,
                    at: *local,
                    original: *original_dst,
                    refused_as_loop: *refused_as_loop,
                };
                let mut hop = Hop::of(event);
                hop.witnesses.insert(Witness::Model);
                if let Some(errno) = &failed {
                    hop.contradictions.push(format!(
                        "the model says that it is accepted, the log says {errno}"
                    ));
                } else if observed.opened.is_none() {
                    return None;
                }
                return Some((pod.clone(), hop));
            }
            // A rule that drops it is the last hop; more there is not to say.
            Some(LegEnd::Unknown { .. })
                if last.is_some_and(|it| matches!(it.way.end, JourneyEnd::Gone(_))) =>
            {
                return None;
            }
            Some(LegEnd::Unknown { why }) => {
                let pod = last.map_or("node", |it| it.pod.name.as_str());
                (pod.to_owned(), Event::Unknown { why: why.clone() }, false)
            }
            None if refused => {
                let pod = self.world.topology.pod_at(observed.destination.ip());
                let pod = pod.map_or("node", |it| it.name.as_str());
                (
                    pod.to_owned(),
                    Event::Refused {
                        at: observed.destination,
                    },
                    true,
                )
            }
            None => return None,
        };
        let mut hop = Hop::of(event);
        if predicted.is_some() {
            hop.witnesses.insert(Witness::Model);
        }
        if log {
            hop.witnesses.insert(Witness::Log);
        } else if let Some(errno) = failed {
            hop.contradictions.push(format!("the log says {errno}"));
        }
        Some((pod, hop))
    }

    /// The process behind a listener, where no log has it.
    fn listener(&self, pod: &str, listener: crate::predict::Listener) -> Process {
        let found = self.world.topology.pod(pod);
        let role = listener.role();
        let (uid, gid) = match (role, found) {
            (hoplab_proxies::record::Role::App, Some(pod)) => {
                pod.app.as_ref().map_or((0, 0), |it| (it.uid, it.gid))
            }
            (_, Some(pod)) => self.world.proxy_owner(pod),
            (_, None) => (0, 0),
        };
        Process {
            pod: pod.to_owned(),
            role: Some(role),
            uid,
            gid,
            pid: None,
        }
    }

    /// The way of the first answer.
    fn back(
        &self,
        observed: &Observed<'a>,
        near: Option<&Crossing<'a>>,
        far: Option<&Crossing<'a>>,
        elsewhere: bool,
    ) -> Vec<Stretch> {
        let accepted = observed
            .accepted
            .map(|(_, it)| (it.owner.uid, it.owner.gid));
        let mut back = Vec::new();
        if let Some(far) = far {
            back.push(self.answer(observed, far, accepted, true));
        }
        if let Some(near) = near {
            back.push(self.answer(observed, near, accepted, !elsewhere));
        }
        back
    }

    /// The answer in one pod: from a socket of it (`made`), or come in from elsewhere.
    fn answer(
        &self,
        observed: &Observed<'a>,
        crossing: &Crossing<'a>,
        accepted: Option<(u32, u32)>,
        made: bool,
    ) -> Stretch {
        let Crossing {
            pod,
            first,
            way,
            traced,
        } = crossing;
        let turned = turned(way, first);
        let from = turned.map_or(first.dst, |it| it.to);
        let flags = match (observed.transport, accepted) {
            (Transport::Udp, _) => TcpFlags::NONE,
            (Transport::Tcp, Some(_)) => TcpFlags::from_names("SYN,ACK").unwrap_or(TcpFlags::NONE),
            (Transport::Tcp, None) => TcpFlags::from_names("RST,ACK").unwrap_or(TcpFlags::NONE),
        };
        let entry = observed.entries[usize::from(observed.opener.pod != pod.name)];
        let connmark = last_mark(way);
        let packet = Packet {
            src: from,
            dst: first.src,
            in_iface: None,
            out_iface: None,
            owner: accepted.filter(|_| made),
            mark: 0,
            tcp_flags: flags,
            connmark,
            ..established(first.clone())
        };
        let packet = match made {
            true => packet,
            false => packet.coming_in(pod.interface.as_str()),
        };
        let rules = self.world.rules_of(Some(pod));
        let known = model::Known {
            answers: true,
            turned,
        };
        let zone = zone_of(way).unwrap_or(0);
        let (answer, _) = follow(
            rules,
            &self.world.host(Some(pod)),
            packet.clone(),
            known,
            zone,
        );
        let traced = match observed.packets.iter().find(|it| it.pod == pod.name) {
            Some(packets) => packets.answer(),
            None => traced.and_then(|first| self.answer_of(pod, first)),
        };
        let mut hops = self.of(
            pod,
            traced,
            Known {
                journey: Some(&answer),
                connmark: entry.map_or(connmark, |it| it.mark),
                owner: packet.owner,
            },
        );
        for hop in &mut hops {
            // conntrack counted answers, so they passed.
            let counted = entry
                .and_then(|it| it.reply_counter)
                .is_some_and(|it| it.packets > 0);
            if counted && matches!(hop.event, Event::Passed { .. }) && !hop.changes.is_empty() {
                hop.witnesses.insert(Witness::Conntrack);
            }
        }
        Stretch {
            pod: pod.name.clone(),
            hops,
        }
    }

    fn packets(&self, pod: &Pod) -> impl Iterator<Item = &'a TracedPacket> {
        self.trace(pod).into_iter().flat_map(|it| &it.packets)
    }

    /// The first answer to a packet of a connection that nobody predicted.
    fn answer_of(&self, pod: &Pod, first: &TracedPacket) -> Option<&'a TracedPacket> {
        let id = first.conntrack?.id;
        self.packets(pod)
            .find(|it| it.conntrack.is_some_and(|it| it.reply && it.id == id))
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

/// Mark of the connection after the first packet.
fn last_mark(way: &Journey) -> u32 {
    let last = way.passages.iter().flat_map(|it| &it.tables).next_back();
    last.map_or(0, |(_, it)| it.left.connmark)
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
