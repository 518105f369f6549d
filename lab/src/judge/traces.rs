//! Finds, for each predicted leg, its packets in the traces of the pods it touches. No packet is used twice.
//!
//! Packets of one namespace are joined to connections first ([`connections`]): by conntrack's id, else by their ends.
//! A connection is a leg's when it has the id of the leg's conntrack entry, or begins as the leg begins there.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::Transport;

use super::connections::End;
use crate::{
    evidence::{ConntrackEntry, Window},
    model::JourneyEnd,
    predict::{Crossing, Leg, LegEnd},
    traced::{Connection, Header, JoinedBy, PodTrace, TracedPacket, connections},
};

/// Packets of one leg in one pod.
#[derive(Debug, Clone)]
pub(crate) struct PodPackets<'a> {
    pub pod: &'a str,
    /// Which of the places that the leg touches it is, see [`touched`].
    pub place: usize,
    pub trace: &'a PodTrace,
    /// From the opener, as positions in the trace, in the order they were seen.
    pub forward: Vec<usize>,
    /// To the opener.
    pub reply: Vec<usize>,
}

impl<'a> PodPackets<'a> {
    /// The first packet of the opener.
    pub fn first(&self) -> Option<&'a TracedPacket> {
        self.at(self.forward.first())
    }

    /// The first answer.
    pub fn answer(&self) -> Option<&'a TracedPacket> {
        self.at(self.reply.first())
    }

    /// All packets but the first of each direction; true for those of the opener.
    pub fn later(&self) -> impl Iterator<Item = (bool, &'a TracedPacket)> {
        let rest = |list: &[usize]| list.iter().skip(1).copied().collect::<Vec<_>>();
        let forward = rest(&self.forward).into_iter().map(|at| (true, at));
        let reply = rest(&self.reply).into_iter().map(|at| (false, at));
        let trace = self.trace;
        forward
            .chain(reply)
            .map(move |(forward, at)| (forward, &trace.packets[at]))
    }

    fn at(&self, position: Option<&usize>) -> Option<&'a TracedPacket> {
        position.map(|at| &self.trace.packets[*at])
    }
}

/// Traced connections of a window, each given to one leg.
pub(super) struct Traces<'a> {
    pods: BTreeMap<&'a str, OfPod<'a>>,
}

struct OfPod<'a> {
    trace: &'a PodTrace,
    /// Nobody's yet.
    free: Vec<Connection>,
}

/// How a leg begins in one pod.
struct Beginning {
    transport: Transport,
    /// The opener's end; the port where it is known.
    from: (std::net::IpAddr, Option<u16>),
    to: SocketAddr,
    /// Where answers come from.
    back: SocketAddr,
    /// It goes nowhere, and the node says so.
    is_told: bool,
}

/// What was observed of a leg beside its packets.
pub(super) struct Known<'a> {
    pub opener: Option<&'a End>,
    pub entries: [Option<&'a ConntrackEntry>; 2],
    pub apart: [Option<&'a ConntrackEntry>; 2],
}

impl<'a> Traces<'a> {
    pub fn new(window: &'a Window) -> Self {
        let pods = window.traces.iter().map(|(pod, trace)| {
            let free = connections(&trace.packets);
            (pod.as_str(), OfPod { trace, free })
        });
        Self {
            pods: pods.collect(),
        }
    }

    /// The packets of a leg: in the opener's pod, then in the other one.
    pub fn take(&mut self, leg: &Leg, known: &Known) -> Vec<PodPackets<'a>> {
        let local = known.opener.and_then(|it| it.opened()?.local());
        let entry = known.entries[0].or(known.entries[1]);
        let local = local.or(entry.map(|it| it.original.src));
        let mut found = Vec::new();
        for (place, touched) in touched(leg).into_iter().enumerate() {
            // The node and what lies beyond it have no trace.
            let Some((pod, of_pod)) = self
                .pods
                .get_key_value(touched.pod)
                .map(|(pod, _)| *pod)
                .zip(self.pods.get_mut(touched.pod))
            else {
                continue;
            };
            let (from, to) = (touched.from, touched.to);
            let beginning = Beginning {
                transport: leg.transport,
                from: (
                    from,
                    local
                        .filter(|it| it.ip() == leg.opener.source)
                        .map(|it| it.port()),
                ),
                to,
                back: touched.crossing.map_or(to, |it| it.answers_from),
                is_told: leg.end == LegEnd::Unreachable,
            };
            let (entry, apart) = (of(&known.entries, place), of(&known.apart, place));
            let packets = of_pod.take(pod, &beginning, entry, apart);
            found.push(PodPackets { place, ..packets });
        }
        found
    }

    /// Packets that belong to no leg, by pod.
    pub fn rest(self) -> BTreeMap<&'a str, Vec<&'a TracedPacket>> {
        let pods = self.pods.into_iter().map(|(pod, of_pod)| {
            let all = of_pod.free.iter();
            let all = all.flat_map(|it| it.packets.iter().chain(&it.replies));
            let packets: Vec<_> = all.map(|at| &of_pod.trace.packets[*at]).collect();
            (pod, packets)
        });
        pods.filter(|(_, rest)| !rest.is_empty()).collect()
    }
}

/// conntrack is asked in the first two pods that a leg touches; a third one has no rules.
fn of<'e>(entries: &[Option<&'e ConntrackEntry>; 2], at: usize) -> Option<&'e ConntrackEntry> {
    entries.get(at).copied().flatten()
}

impl<'a> OfPod<'a> {
    fn take(
        &mut self,
        pod: &'a str,
        beginning: &Beginning,
        entry: Option<&ConntrackEntry>,
        apart: Option<&ConntrackEntry>,
    ) -> PodPackets<'a> {
        let mut packets = PodPackets {
            pod,
            place: 0,
            trace: self.trace,
            forward: Vec::new(),
            reply: Vec::new(),
        };
        let is = |connection: &Connection, entry: Option<&ConntrackEntry>| {
            entry.is_some_and(|it| connection.joined_by == JoinedBy::ConntrackId(it.id))
        };
        let mut from = beginning.from;
        for connection in std::mem::take(&mut self.free) {
            let first = connection.packets.first().or(connection.replies.first());
            let header = first.map(|at| self.trace.packets[*at].first());
            let same_way =
                is(&connection, entry) || header.is_some_and(|it| beginning.is(it, from));
            let turned = is(&connection, apart)
                || header.is_some_and(|it| {
                    beginning.is_answer(it, from) || beginning.is_word(it, from.0)
                });
            if same_way {
                // A call that is repeated, or recorded anew, has the same port.
                from.1 = from.1.or(header.and_then(|it| it.source_port));
                packets.forward.extend(&connection.packets);
                packets.reply.extend(&connection.replies);
            } else if turned && connection.packets.is_empty() {
                // Its entry is another one, by which it is an answer all the same.
                packets.reply.extend(&connection.replies);
            } else if turned {
                packets.reply.extend(&connection.packets);
                packets.forward.extend(&connection.replies);
            } else {
                self.free.push(connection);
            }
        }
        packets.forward.sort_unstable();
        packets.reply.sort_unstable();
        packets
    }
}

impl Beginning {
    fn is(&self, header: &Header, from: (std::net::IpAddr, Option<u16>)) -> bool {
        self.protocol() == header.protocol
            && header.source == from.0
            && from.1.is_none_or(|port| header.source_port == Some(port))
            && header.destination_end() == self.to
    }

    fn is_answer(&self, header: &Header, from: (std::net::IpAddr, Option<u16>)) -> bool {
        self.protocol() == header.protocol
            && header.destination == from.0
            && from
                .1
                .is_some_and(|port| header.destination_port == Some(port))
            && header.source_end() == self.back
    }

    /// The word that there is no way. conntrack joins it to its connection; where that sleeps nothing else does.
    fn is_word(&self, header: &Header, to: std::net::IpAddr) -> bool {
        self.is_told && header.icmp.is_some() && header.destination == to
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }
}

/// A pod that a leg touches.
pub(super) struct Touched<'l> {
    pub pod: &'l str,
    /// The rules it meets there.
    pub crossing: Option<&'l Crossing>,
    /// The source it comes with.
    from: std::net::IpAddr,
    /// Where it is for when it comes there.
    to: SocketAddr,
}

/// The pods a leg touches, the opener's first and the one where it ends last. One that calls itself by way of the node is
/// touched twice; the node itself is not among them, unless the leg ends there.
pub(super) fn touched(leg: &Leg) -> Vec<Touched<'_>> {
    let arrives = sent_to(leg);
    let mut all = vec![Touched {
        pod: &leg.opener.pod,
        crossing: leg.near.as_ref(),
        from: leg.opener.source,
        to: leg.remote,
    }];
    let there = |pod, crossing| Touched {
        pod,
        crossing,
        from: leg.seen_from,
        to: arrives,
    };
    // By way of the node it may come back to the opener's own pod.
    let elsewhere = |pod: &str| pod != leg.opener.pod || leg.node.is_some();
    let far = match &leg.far {
        Some(crossing) => Some((crossing.pod.as_str(), Some(crossing))),
        None => leg.end.pod().map(|pod| (pod, None)),
    };
    all.extend(
        far.filter(|(pod, _)| elsewhere(pod))
            .map(|(pod, crossing)| there(pod, crossing)),
    );
    // Forwarded by a pod, it ends in another one.
    if let Some(end) = leg
        .end
        .pod()
        .filter(|end| all.iter().all(|it| it.pod != *end))
    {
        all.push(there(end, None));
    }
    all
}

/// Where the opener's pod sends a leg, or the node in turn.
fn sent_to(leg: &Leg) -> SocketAddr {
    let sent = |crossing: &Option<Crossing>| match crossing.as_ref().map(|it| &it.first.end) {
        Some(JourneyEnd::Sent { to }) => Some(*to),
        _ => None,
    };
    sent(&leg.node)
        .or_else(|| sent(&leg.near))
        .unwrap_or(leg.remote)
}
