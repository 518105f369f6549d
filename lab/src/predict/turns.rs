//! Whose turn it is behind a service: each proxy takes the endpoints of each virtual address one after the other.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use hoplab_proxies::record::{Event, Record, Role};

use super::{World, gateway_vip};
use crate::{
    rules::Family,
    topology::{Proxy, Topology},
};

/// Choices a proxy has made so far, by pod and virtual address.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    taken: HashMap<(String, SocketAddr), usize>,
}

impl Turns {
    /// Takes the next endpoint.
    pub(super) fn take(
        &mut self,
        pod: &str,
        vip: SocketAddr,
        endpoints: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let count = self.taken.entry((pod.to_string(), vip)).or_insert(0);
        let endpoint = endpoints.get(*count % endpoints.len().max(1)).copied();
        *count += 1;
        endpoint
    }

    /// Counts the choices that a window's records show, so that the next prediction starts where the proxies stand.
    ///
    /// An accept shows a choice by the address it was meant for. Where that record is missing, the connect made on
    /// its behalf shows it by the endpoint that was taken.
    pub fn observe(&mut self, world: &World, records: &[Record]) {
        let (topology, family) = (world.topology, world.family());
        let accepts: HashSet<(&str, u32, u64)> = records
            .iter()
            .filter(|r| matches!(r.event, Event::Accept { .. }))
            .map(|r| (r.pod.as_str(), r.pid, r.conn))
            .collect();
        for record in records.iter().filter(|r| r.role == Role::Proxy) {
            let vip = match &record.event {
                Event::Accept {
                    listener,
                    original_dst,
                    ..
                } => match listener.port() {
                    port if port == world.interception.outbound => original_dst.addr(),
                    port => gateway(topology, &record.pod, port, family),
                },
                Event::Connect {
                    parent: Some(parent),
                    bound: None,
                    remote,
                    ..
                } if !accepts.contains(&(record.pod.as_str(), record.pid, *parent)) => {
                    behind(topology, *remote, family)
                }
                _ => None,
            };
            if let Some(vip) = vip {
                *self.taken.entry((record.pod.clone(), vip)).or_insert(0) += 1;
            }
        }
    }
}

/// The service address that a gateway's listener stands for.
fn gateway(topology: &Topology, pod: &str, port: u16, family: Family) -> Option<SocketAddr> {
    let pod = topology.pod(pod)?;
    match pod.proxy.as_ref()? {
        Proxy::Gateway { port: own, .. } if *own == port => gateway_vip(topology, pod, family),
        _ => None,
    }
}

/// The service address that an endpoint stands behind.
fn behind(topology: &Topology, endpoint: SocketAddr, family: Family) -> Option<SocketAddr> {
    let pod = topology.pod_at(endpoint.ip())?;
    let service = topology
        .services
        .iter()
        .find(|s| s.port == endpoint.port() && s.endpoints.contains(&pod.name))?;
    Some(SocketAddr::new(service.vip.of(family), service.port))
}
