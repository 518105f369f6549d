//! Connections that conntrack still knows from earlier flows: for another packet of theirs nat is not asked.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::Transport;

use super::{
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<String, Vec<Remembered>>);

impl Memory {
    /// A connection that stays in a pod's table.
    pub fn remember(&mut self, pod: &str, connection: Remembered) {
        self.0.entry(pod.to_owned()).or_default().push(connection);
    }

    /// A pod's table is empty again.
    pub fn forget(&mut self, pod: &str) {
        self.0.remove(pod);
    }

    /// The connection that a packet belongs to, if one is known.
    pub(super) fn of(
        &self,
        pod: &str,
        transport: Transport,
        zone: u16,
        ends: (SocketAddr, SocketAddr),
    ) -> Option<Remembered> {
        let known = self.0.get(pod)?.iter();
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
