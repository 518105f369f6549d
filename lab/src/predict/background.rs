//! Packets of a pod that belong to no flow: with IPv6 the kernel asks for neighbours and routers by itself.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use super::World;
use crate::{
    model::{Packet, journey},
    rules::{CtState, Family, Protocol, RuleId, TcpFlags},
};

/// Rules that such packets move, any number of times and at any time. nat never hears of them: conntrack does not track
/// neighbour discovery (`noct_valid_new` in net/netfilter/nf_conntrack_proto_icmpv6.c).
pub fn background(world: &World) -> BTreeSet<RuleId> {
    let mut rules = BTreeSet::new();
    if world.family() == Family::V4 || world.only_nat() {
        return rules;
    }
    for pod in world.topology.pods.iter().filter(|pod| pod.is_sidecar()) {
        let host = world.host(Some(pod));
        let own = pod.addr.of(Family::V6);
        let others = IpAddr::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
        for (src, dst) in [(own, others), (others, own)] {
            let packet = discovery(src, dst);
            let packet = match dst == own {
                true => packet.coming_in(pod.interface.as_str()),
                false => packet.leaving_by(pod.interface.as_str()),
            };
            rules.extend(journey(world.rules, &host, packet).moved());
        }
    }
    rules
}

fn discovery(src: IpAddr, dst: IpAddr) -> Packet {
    let icmp = Protocol::from_name("ipv6-icmp").unwrap_or(Protocol::Tcp);
    Packet {
        protocol: icmp,
        state: CtState::Untracked,
        tcp_flags: TcpFlags::NONE,
        ..Packet::tcp(SocketAddr::new(src, 0), SocketAddr::new(dst, 0))
    }
}
