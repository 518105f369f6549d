//! What the supervisor is told of a flow: the flow with its addresses settled. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Options;
use crate::{
    rules::Family,
    sandbox::protocol::Order,
    topology::{Flow, Target, Topology},
};

/// As the supervisor sends it. `number` tells the flows of one handle apart.
pub(super) fn order(
    topology: &Topology,
    flow: &Flow,
    family: Family,
    options: &Options,
    number: u64,
) -> Order {
    let ip = match &flow.to {
        Target::Pod { pod, .. } => topology.pod(pod).map(|p| p.addr.of(family)),
        Target::Service { service, .. } => topology.service(service).map(|s| s.vip.of(family)),
        Target::Localhost { .. } => None,
        Target::Dns => topology.dns.as_ref().map(|dns| dns.addr.of(family)),
        Target::Address(address) => Some(address.ip()),
    };
    let host = match &flow.to {
        Target::Pod { pod: name, .. } | Target::Service { service: name, .. } => name,
        Target::Localhost { .. } | Target::Dns | Target::Address(_) => "localhost",
    };
    let to = SocketAddr::new(ip.unwrap_or(localhost(family)), flow.to.port());
    let client = flow.connection.source.as_ref();
    let client = client.and_then(|it| topology.pod(it));
    Order {
        source: client.map(|pod| pod.addr.of(family)),
        flow: flow.name.clone(),
        family,
        pod: flow.from.pod.clone(),
        sender: flow.from.sender,
        to,
        host: host.to_string(),
        ask: flow.ask.clone(),
        request_id: format!("{}-{number}", flow.name),
        watch: match flow.connection.resume {
            // No process may log anything of it, and every pod's rules must stay still.
            Some(_) => topology.sidecars().map(str::to_owned).collect(),
            None => flow.nat.keys().cloned().collect(),
        },
        connection: flow.connection.clone(),
        deadline_ms: options.deadline_ms,
        give_up_ms: flow.connection.give_up_ms,
    }
}

fn localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}
