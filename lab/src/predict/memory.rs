//! Connections that conntrack still knows from earlier flows: for another packet of theirs nat is not asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use hoplab_proxies::record::Transport;

use super::{
    Turns,
    crossing::{established, zone_of},
    walk::Walk,
};
use crate::{
    model::{Journey, Known, Packet, Turned, journey_of_known},
    rules::Hook,
    topology::Pod,
};

/// A connection that conntrack of a pod knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// TCP or UDP.
    pub transport: Transport,
    /// Zone its entry is in.
    pub zone: u16,
    /// Source of its first packet.
    pub src: SocketAddr,
    /// Destination of its first packet.
    pub dst: SocketAddr,
    /// Where answers come from: another address than `dst` when nat turned it.
    pub answers_from: SocketAddr,
}

/// What conntrack of each pod remembers.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    known: BTreeMap<String, Vec<Remembered>>,
    held: BTreeMap<String, HeldOver>,
}

/// A connection that a flow holds, as conntrack had it when its last flow was over.
#[derive(Debug, Clone, Default)]
pub struct HeldOver {
    /// Where the proxies stood before the flow that made it.
    pub turns: Turns,
    /// Its entries, by pod, and those of what proxies opened for it.
    entries: BTreeMap<String, Vec<Remembered>>,
    /// Pods whose conntrack no longer knows them.
    pub forgotten_in: BTreeSet<String>,
}

impl HeldOver {
    /// Where a connection of it ended in a pod, before that forgot it.
    pub fn ended_at(&self, pod: &str, from: IpAddr, to: SocketAddr) -> Option<SocketAddr> {
        let entries = self.entries.get(pod)?.iter();
        let mut mine = entries.filter(|it| it.src.ip() == from && it.dst == to);
        mine.next().map(|it| it.answers_from)
    }
}

impl Memory {
    /// A connection that stays in a pod's table.
    pub fn remember(&mut self, pod: &str, connection: Remembered) {
        let known = self.known.entry(pod.to_owned()).or_default();
        known.push(connection);
    }

    /// A flow holds a connection that it made.
    pub fn hold(&mut self, name: &str, turns: Turns, entries: BTreeMap<String, Vec<Remembered>>) {
        let held = HeldOver {
            turns,
            entries,
            forgotten_in: BTreeSet::new(),
        };
        self.held.insert(name.to_owned(), held);
    }

    /// A flow went over a held connection: who had forgotten it knows it again.
    pub fn taken_up(&mut self, name: &str, entries: BTreeMap<String, Vec<Remembered>>) {
        let Some(held) = self.held.get_mut(name) else {
            return;
        };
        let again = std::mem::take(&mut held.forgotten_in);
        let entries = entries.into_iter();
        held.entries
            .extend(entries.filter(|(pod, _)| again.contains(pod)));
    }

    /// A held connection.
    pub fn held(&self, name: &str) -> Option<&HeldOver> {
        self.held.get(name)
    }

    /// A pod's table is empty again.
    pub fn forget(&mut self, pod: &str) {
        self.known.remove(pod);
        for held in self.held.values_mut() {
            held.forgotten_in.insert(pod.to_owned());
        }
    }

    /// The connection that a packet belongs to, if one is known.
    pub(super) fn of(
        &self,
        pod: &str,
        transport: Transport,
        zone: u16,
        ends: (SocketAddr, SocketAddr),
    ) -> Option<Remembered> {
        let known = self.known.get(pod)?.iter();
        let is =
            |it: &&Remembered| (it.transport, it.zone, (it.src, it.dst)) == (transport, zone, ends);
        known.rev().find(is).copied()
    }
}

impl Walk<'_> {
    /// The way of a packet whose connection conntrack knows from an earlier flow.
    pub fn known(
        &self,
        pod: &Pod,
        transport: Transport,
        near: &Journey,
        first: &Packet,
    ) -> Option<Journey> {
        let zone = zone_of(near).unwrap_or(0);
        let ends = (first.src, first.dst);
        let found = self.world.memory.of(&pod.name, transport, zone, ends)?;
        let turned = (found.answers_from != found.dst).then_some(Turned {
            at: Hook::Output,
            from: found.dst,
            to: found.answers_from,
        });
        let known = Known {
            answers: false,
            turned,
            source: None,
        };
        let packet = established(first.clone());
        let (rules, host) = (self.world.rules_of(Some(pod)), self.world.host(Some(pod)));
        Some(journey_of_known(rules, &host, packet, known))
    }
}
