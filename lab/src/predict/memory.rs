//! Connections that conntrack still knows from earlier flows: for another packet of theirs nat is not asked.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::record::Transport;

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
