//! What was observed of one connection, with what was predicted of it.

use std::net::SocketAddr;

use hoplab_proxies::record::{ConnectResult, Transport};

use super::{Process, Source};
use crate::{
    evidence::{ConntrackEntry, Window},
    judge::{
        connections::{Accepted, End, Opened},
        matching::{Matched, Matching},
        traces::PodPackets,
    },
    predict::Leg,
};

/// A connection as logs, conntrack and prediction know it.
pub(super) struct Observed<'a> {
    /// Index of the one on whose behalf it was opened.
    pub parent: Option<usize>,
    pub opener: Process,
    pub source: Source,
    pub destination: SocketAddr,
    pub mark: u32,
    pub transport: Transport,
    pub opened: Option<(&'a End, &'a Opened)>,
    pub accepted: Option<(&'a End, &'a Accepted)>,
    pub predicted: Option<&'a Leg>,
    /// Its traced packets, by pod.
    pub packets: Vec<PodPackets<'a>>,
    /// Entries in the opener's pod, and in the other one.
    pub entries: [Option<&'a ConntrackEntry>; 2],
    /// Entry in the node, where that has rules.
    pub in_node: Option<&'a ConntrackEntry>,
}

/// Every connection of a window: those that were predicted, then those that were not.
pub(super) fn observed<'a>(matching: &Matching<'a>, window: &'a Window) -> Vec<Observed<'a>> {
    let mut all: Vec<Observed<'a>> = matching.legs.iter().map(of_match).collect();
    let strangers = &matching.unexplained_ends;
    for end in strangers.iter().copied() {
        let Some(opened) = end.opened() else { continue };
        let parent = opened.parent.and_then(|conn| {
            all.iter().position(|it| {
                it.accepted.is_some_and(|(by, _)| {
                    (by.pod.as_str(), by.pid, by.conn) == (end.pod.as_str(), end.pid, conn)
                })
            })
        });
        let local = opened.local();
        let accepted = strangers.iter().copied().find_map(|other| {
            let accepted = other.accepted()?;
            let near = other.pod == end.pod || !accepted.peer.ip().is_loopback();
            (near && Some(accepted.peer) == local).then_some((other, accepted))
        });
        let entry = |pod: &str| {
            let entries = window.conntrack.get(pod)?;
            entries
                .iter()
                .find(|it| Some(it.original.src) == local && it.original.dst == opened.remote)
        };
        let far = accepted.filter(|(it, _)| it.pod != end.pod);
        all.push(Observed {
            parent,
            opener: process(end, opened),
            source: Source {
                address: local.map_or(opened.remote.ip(), |it| it.ip()),
                port: local.map(|it| it.port()),
                bound: opened.bound.is_some(),
            },
            destination: opened.remote,
            mark: opened.mark,
            transport: opened.transport,
            opened: Some((end, opened)),
            accepted,
            predicted: None,
            packets: Vec::new(),
            entries: [entry(&end.pod), far.and_then(|(it, _)| entry(&it.pod))],
            in_node: None,
        });
    }
    all
}

fn of_match<'a>(matched: &Matched<'a>) -> Observed<'a> {
    let leg = matched.leg;
    let opened = matched.opener.and_then(|end| Some((end, end.opened()?)));
    let accepted = matched
        .accepter
        .and_then(|end| Some((end, end.accepted()?)));
    let local = opened.and_then(|(_, it)| it.local());
    // Of a connection that was refused, the log has no source port; conntrack may.
    let entry = matched.near.or(matched.far);
    let port = local
        .or(entry.map(|it| it.original.src))
        .map(|it| it.port());
    let opener = &leg.opener;
    let predicted = Process {
        pod: opener.pod.clone(),
        role: Some(opener.role),
        uid: opener.owner.0,
        gid: opener.owner.1,
        pid: None,
    };
    Observed {
        parent: leg.parent,
        opener: opened.map_or(predicted, |(end, it)| process(end, it)),
        source: Source {
            address: local.map_or(opener.source, |it| it.ip()),
            port,
            bound: opened.map_or(opener.bound, |(_, it)| it.bound.is_some()),
        },
        destination: leg.remote,
        mark: opened.map_or(opener.mark, |(_, it)| it.mark),
        transport: leg.transport,
        opened,
        accepted,
        predicted: Some(leg),
        packets: matched.packets.clone(),
        entries: [matched.near, matched.far],
        in_node: matched.node,
    }
}

fn process(end: &End, opened: &Opened) -> Process {
    Process {
        pod: end.pod.clone(),
        role: Some(end.role),
        uid: opened.owner.uid,
        gid: opened.owner.gid,
        pid: Some(end.pid),
    }
}

impl Observed<'_> {
    /// Its source, where a log tells.
    pub fn local(&self) -> Option<SocketAddr> {
        self.opened?.1.local()
    }

    /// errno of connect(2), when it failed.
    pub fn failed(&self) -> Option<String> {
        match &self.opened?.1.result {
            ConnectResult::Failed { errno } => Some(errno.clone()),
            ConnectResult::Connected { .. } => None,
        }
    }
}
