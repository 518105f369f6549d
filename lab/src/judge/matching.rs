//! Finds, for each predicted leg, its two ends in the logs and its entries in conntrack. Nothing is used twice.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

use hoplab_proxies::record::Transport;

use super::{
    connections::End,
    traces::{Known, PodPackets, Traces},
};
use crate::{
    evidence::{ConntrackEntry, Window},
    interception::INBOUND_SOURCE,
    predict::{Counted, Crossing, Leg, LegEnd},
    traced::TracedPacket,
};

/// A predicted leg and what was observed of it.
#[derive(Debug)]
pub(crate) struct Matched<'a> {
    pub leg: &'a Leg,
    pub opener: Option<&'a End>,
    pub accepter: Option<&'a End>,
    /// Entry in the opener's pod.
    pub near: Option<&'a ConntrackEntry>,
    /// Entry in the node, where that has rules.
    pub node: Option<&'a ConntrackEntry>,
    /// Entry in the destination pod, when that is another one.
    pub far: Option<&'a ConntrackEntry>,
    /// Entry of the answers, where rules put them in another zone: the opener's pod, then the other.
    pub apart: [Option<&'a ConntrackEntry>; 2],
    /// Its packets, in each of its pods that has a trace, the opener's first.
    pub packets: Vec<PodPackets<'a>>,
}

impl<'a> Matched<'a> {
    /// The entry of the connection in a pod it crosses.
    pub fn entry(&self, crossing: &Crossing) -> Option<&'a ConntrackEntry> {
        let is = |it: &Option<Crossing>| it.as_ref().is_some_and(|it| std::ptr::eq(it, crossing));
        match () {
            _ if is(&self.leg.near) => self.near,
            _ if is(&self.leg.node) => self.node,
            _ => self.far,
        }
    }

    /// How many packets crossed a pod: what TCP itself says of a connection that was never made, else what conntrack
    /// counted.
    pub fn counted(&self, crossing: &Crossing) -> Counted {
        let packets = |opener, answers| Counted {
            opener: Some(opener),
            answers: Some(answers),
        };
        match (&self.leg.end, self.leg.transport) {
            (LegEnd::Refused { .. }, Transport::Tcp) => packets(1, 1),
            // conntrack does not count a first packet that is sent again (`nf_conntrack_tcp_packet`).
            (LegEnd::Unreachable | LegEnd::Dropped { .. }, _) => Counted {
                opener: None,
                answers: Some(0),
            },
            _ => match self.entry(crossing) {
                Some(entry) => Counted {
                    opener: entry.original_counter.map(|it| it.packets),
                    answers: match crossing.answers_apart {
                        None => entry.reply_counter.map(|it| it.packets),
                        Some(_) => {
                            let near = self.leg.near.as_ref();
                            let near = near.is_some_and(|it| std::ptr::eq(it, crossing));
                            let apart = self.apart[usize::from(!near)];
                            apart
                                .and_then(|it| it.original_counter)
                                .map(|it| it.packets)
                        }
                    },
                },
                None => Counted::default(),
            },
        }
    }
}

/// All legs of a flow, and what no leg explains.
#[derive(Debug)]
pub(crate) struct Matching<'a> {
    pub legs: Vec<Matched<'a>>,
    pub unexplained_ends: Vec<&'a End>,
    pub unexplained_entries: BTreeMap<&'a str, Vec<&'a ConntrackEntry>>,
    pub unexplained_packets: BTreeMap<&'a str, Vec<&'a TracedPacket>>,
}

pub(crate) fn match_legs<'a>(legs: &'a [Leg], ends: &'a [End], window: &'a Window) -> Matching<'a> {
    let mut used = HashSet::new();
    let mut entries = Entries {
        window,
        used: HashSet::new(),
    };
    let mut traces = Traces::new(window);
    let mut matched: Vec<Matched<'a>> = Vec::new();
    for leg in legs {
        let parent = leg.parent.map(|p| matched[p].accepter);
        let opener = find(ends, &mut used, |end| is_opener(leg, parent, end));
        let accepter = find_accepter(leg, opener, ends, &mut used);
        let near = entries.take(&leg.opener.pod, leg, opener, leg.remote);
        let mut beyond = |crossing: &'a Option<Crossing>| {
            let crossing = crossing.as_ref()?;
            let (_, to) = crossing.came()?;
            entries.take(&crossing.pod, leg, opener, to)
        };
        let (node, far) = (beyond(&leg.node), beyond(&leg.far));
        let mut apart = |crossing: &'a Option<Crossing>| {
            let crossing = crossing.as_ref()?;
            entries.take_apart(crossing, leg, opener)
        };
        let apart = [apart(&leg.near), apart(&leg.far)];
        let known = Known {
            opener,
            entries: [near, far],
            apart,
        };
        let packets = traces.take(leg, &known);
        matched.push(Matched {
            leg,
            opener,
            accepter,
            near,
            node,
            far,
            apart,
            packets,
        });
    }
    let unexplained_ends = ends
        .iter()
        .enumerate()
        .filter(|(i, _)| !used.contains(i))
        .map(|(_, e)| e)
        .collect();
    let unexplained_entries = entries.rest();
    Matching {
        legs: matched,
        unexplained_ends,
        unexplained_entries,
        unexplained_packets: traces.rest(),
    }
}

fn find<'a>(
    ends: &'a [End],
    used: &mut HashSet<usize>,
    wanted: impl Fn(&End) -> bool,
) -> Option<&'a End> {
    let (index, end) = ends
        .iter()
        .enumerate()
        .find(|(i, e)| !used.contains(i) && wanted(e))?;
    used.insert(index);
    Some(end)
}

fn is_opener(leg: &Leg, parent: Option<Option<&End>>, end: &End) -> bool {
    let Some(opened) = end.opened() else {
        return false;
    };
    let on_behalf = match parent {
        None => opened.parent.is_none(),
        Some(Some(parent)) => opened.parent == Some(parent.conn) && end.pid == parent.pid,
        // The parent's own record is missing: any parent will do.
        Some(None) => opened.parent.is_some(),
    };
    on_behalf
        && end.pod == leg.opener.pod
        && end.role == leg.opener.role
        && opened.transport == leg.transport
        && opened.remote == leg.remote
}

/// By the opener's address first, wherever it arrived; else by what the prediction says about the arrival, for a
/// rewritten source port or a missing connect record.
fn find_accepter<'a>(
    leg: &Leg,
    opener: Option<&End>,
    ends: &'a [End],
    used: &mut HashSet<usize>,
) -> Option<&'a End> {
    let local = opener.and_then(|o| o.opened()).and_then(|o| o.local());
    if opener.is_some() && local.is_none() {
        return None;
    }
    let local = local.map(|local| seen(leg, local));
    let is_predicted = |end: &End| match &leg.end {
        LegEnd::Accepted {
            pod,
            listener,
            local: at,
            ..
        } => {
            let here = end.pod == *pod && end.role == listener.role();
            here && end
                .accepted()
                .is_some_and(|a| a.local == *at && a.transport == leg.transport)
        }
        _ => false,
    };
    if let Some(local) = local {
        // Addresses on lo are every pod's own: two pods may hold the same one, with the same port, at once. And with
        // TPROXY a client's address is that of the proxy's upstream, too.
        let on_lo = local.ip().is_loopback() || INBOUND_SOURCE.contains(&local.ip());
        let by_peer = |end: &End| {
            (!on_lo || end.pod == leg.opener.pod) && end.accepted().is_some_and(|a| a.peer == local)
        };
        let both = |end: &End| by_peer(end) && is_predicted(end);
        if let Some(end) = find(ends, used, both).or_else(|| find(ends, used, by_peer)) {
            return Some(end);
        }
    }
    let LegEnd::Accepted { original_dst, .. } = &leg.end else {
        return None;
    };
    find(ends, used, |end| {
        is_predicted(end)
            && end.accepted().is_some_and(|a| {
                a.peer.ip() == leg.seen_from
                    && original_dst.is_none_or(|dst| a.original_dst.addr() == Some(dst))
            })
    })
}

/// The opener's address as the destination's pod has it: the host may change it, and keeps the port.
fn seen(leg: &Leg, mut local: SocketAddr) -> SocketAddr {
    if local.ip() == leg.opener.source {
        local.set_ip(leg.seen_from);
    }
    local
}

/// New conntrack entries, each used once per pod.
struct Entries<'a> {
    window: &'a Window,
    used: HashSet<(&'a str, u32)>,
}

impl<'a> Entries<'a> {
    /// The entry of a leg, and where its first packet is for there.
    fn take(
        &mut self,
        pod: &str,
        leg: &Leg,
        opener: Option<&End>,
        to: SocketAddr,
    ) -> Option<&'a ConntrackEntry> {
        self.find(
            pod,
            leg,
            opener,
            |it| (it.original.src, it.original.dst),
            to,
        )
    }

    /// The entry that answers made in a zone of their own: from where they come, to the opener.
    fn take_apart(
        &mut self,
        crossing: &Crossing,
        leg: &Leg,
        opener: Option<&End>,
    ) -> Option<&'a ConntrackEntry> {
        crossing.answers_apart?;
        let back = |it: &ConntrackEntry| (it.original.dst, it.original.src);
        self.find(&crossing.pod, leg, opener, back, crossing.answers_from)
    }

    fn find(
        &mut self,
        pod: &str,
        leg: &Leg,
        opener: Option<&End>,
        ends: impl Fn(&ConntrackEntry) -> (SocketAddr, SocketAddr),
        to: SocketAddr,
    ) -> Option<&'a ConntrackEntry> {
        let (pod, entries) = self.window.conntrack.get_key_value(pod)?;
        let local = opener.and_then(|o| o.opened()).and_then(|o| o.local());
        let entry = entries.iter().find(|entry| {
            let (src, dst) = ends(entry);
            let from = match local {
                Some(local) => {
                    src == local
                        || (to != leg.remote || pod != &leg.opener.pod) && src == seen(leg, local)
                }
                None => src.ip() == leg.opener.source || src.ip() == leg.seen_from,
            };
            from && dst == to
                && entry.transport == leg.transport
                && !self.used.contains(&(pod.as_str(), entry.id))
        })?;
        self.used.insert((pod, entry.id));
        Some(entry)
    }

    fn rest(self) -> BTreeMap<&'a str, Vec<&'a ConntrackEntry>> {
        let pods = self.window.conntrack.iter();
        pods.map(|(pod, entries)| {
            let rest = entries
                .iter()
                .filter(|e| !self.used.contains(&(pod.as_str(), e.id)));
            (pod.as_str(), rest.collect::<Vec<_>>())
        })
        .filter(|(_, rest)| !rest.is_empty())
        .collect()
    }
}
