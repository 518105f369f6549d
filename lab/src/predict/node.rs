//! By way of the node: what its rules do to what a pod sent, and where it goes on to.

use std::net::SocketAddr;

use super::{
    LegEnd,
    arrive::unknown,
    walk::{Call, Walk},
};
use crate::{
    model::{Journey, JourneyEnd, Packet, journey},
    topology::Pod,
};

impl Walk<'_> {
    /// Whether the node is who calls, and has no route there.
    pub(super) fn has_no_route(&self, here: Option<&Pod>, to: SocketAddr) -> bool {
        let topology = self.world.topology;
        let known = || self.world.is_node(to.ip()) || topology.next_hop(None, to.ip()).is_some();
        here.is_none() && !to.ip().is_loopback() && !known()
    }

    /// What a pod sent comes to the node where that has rules; as it goes on, or where it ends.
    pub(super) fn through_node(
        &self,
        from: Option<&Pod>,
        packet: Packet,
        call: &Call,
        passed: &mut Option<(Packet, Journey)>,
    ) -> Result<Packet, LegEnd> {
        let world = self.world;
        if from.is_none() || !world.has_rules(None) {
            return Ok(packet);
        }
        let host = world.host(None);
        let packet = packet.coming_in(&host.interface);
        let before = self.legs.iter().filter(|it| it.remote == call.remote);
        let before = before.filter(|it| it.node.is_some()).count();
        let rules = world.node_rules_for(packet.dst, before);
        let way = journey(&rules, &host, packet.clone());
        let on = match &way.end {
            JourneyEnd::Sent { .. } => Ok(left(&way, &packet)),
            JourneyEnd::Delivered { at, .. } => Err(self.at_node(*at, call.transport)),
            other => Err(unknown(other)),
        };
        *passed = Some((packet, way));
        on
    }
}

/// A packet as it leaves the place it came to, for the next one.
pub(super) fn left(way: &Journey, came: &Packet) -> Packet {
    let left = way.passages.last().map_or(came, |it| &it.left);
    Packet {
        src: left.src,
        dst: left.dst,
        owner: None,
        mark: 0,
        ..came.clone()
    }
}
