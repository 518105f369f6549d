//! Links of pods: to the node's bridge, or to the pod that a pod is behind.

use std::net::IpAddr;

use super::{
    LinkPlan, Mac, RelayPlan,
    sysctls::{FORWARDING, own},
};
use crate::topology::{Addresses, Pod, Topology};

/// Who has which address on the bridge.
pub(super) fn neighbours(topology: &Topology) -> Vec<(IpAddr, Mac)> {
    let pods = topology.pods.iter().map(|pod| {
        let outer = pod.behind.as_ref().and_then(|it| topology.pod(it));
        at(pod.addr, outer.unwrap_or(pod).addr)
    });
    let node = topology.network.node;
    pods.chain([at(node, node)]).flatten().collect()
}

/// Both addresses, at the link of whoever has the IPv4 address of `owner`.
fn at(addr: Addresses, owner: Addresses) -> [(IpAddr, Mac); 2] {
    let mac = Mac::of(owner.v4);
    [(addr.v4.into(), mac), (addr.v6.into(), mac)]
}

/// The link of a pod.
pub(crate) fn link(topology: &Topology, pod: &Pod) -> LinkPlan {
    let network = &topology.network;
    let (v4, v6) = (network.ipv4.prefix_len(), network.ipv6.prefix_len());
    let outer = pod.behind.as_ref().and_then(|it| topology.pod(it));
    let neighbours = neighbours(topology).into_iter();
    // The node's rules see what comes through the node: to every pod all others are there, as where each pod has a link
    // of its own to its node (ptp of CNI, Calico).
    let through_node = topology.kube_proxy.then(|| Mac::of(network.node.v4));
    LinkPlan {
        interface: pod.interface.to_string(),
        host_interface: pod.host_interface.to_string(),
        mac: Mac::of(pod.addr.v4),
        addresses: vec![(pod.addr.v4.into(), v4), (pod.addr.v6.into(), v6)],
        gateways: match pod.default_route {
            true => vec![network.node.v4.into(), network.node.v6.into()],
            false => Vec::new(),
        },
        neighbours: match outer {
            None => neighbours
                .map(|(ip, mac)| (ip, through_node.unwrap_or(mac)))
                .collect(),
            // Whoever it is for, the pod it is behind takes it.
            Some(outer) => neighbours
                .map(|(ip, _)| (ip, Mac::of(outer.addr.v4)))
                .collect(),
        },
        behind: outer.map(|outer| RelayPlan {
            pod: outer.name.clone(),
            mac: Mac::of(outer.addr.v4),
            addresses: vec![(outer.addr.v4.into(), 32), (outer.addr.v6.into(), 128)],
            routes: vec![pod.addr.v4.into(), pod.addr.v6.into()],
            neighbours: at(pod.addr, pod.addr).into(),
            sysctls: own(FORWARDING),
        }),
    }
}
