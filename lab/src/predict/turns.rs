//! Whose turn it is behind a service: each proxy takes the endpoints of each virtual address one after the other.

use std::{
    collections::{HashMap, HashSet, VecDeque},
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
    /// Choices that are known already, and come before any other.
    known: HashMap<(String, SocketAddr), VecDeque<SocketAddr>>,
}

impl Turns {
    /// Takes the next endpoint.
    pub(super) fn take(
        &mut self,
        pod: &str,
        vip: SocketAddr,
        endpoints: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let known = self.known.get_mut(&(pod.to_string(), vip));
        let known = known.and_then(VecDeque::pop_front);
        let count = self.taken.entry((pod.to_string(), vip)).or_insert(0);
        let endpoint = endpoints.get(*count % endpoints.len().max(1)).copied();
        *count += 1;
        known.or(endpoint)
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
                    port if port == world.interception_of(&record.pod).outbound => {
                        original_dst.addr()
                    }
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

    /// Takes the endpoints that proxies chose in a window for those they will choose, so that a prediction of that very
    /// window follows them. For a lab that was up before anyone looked: where its proxies stand is not known then.
    pub fn follow(&mut self, world: &World, records: &[Record]) {
        let mut vips = HashMap::new();
        for record in records.iter().filter(|r| r.role == Role::Proxy) {
            let of = |conn| (record.pod.as_str(), record.pid, conn);
            match &record.event {
                Event::Accept {
                    listener,
                    original_dst,
                    ..
                } => {
                    let vip = match listener.port() {
                        port if port == world.interception_of(&record.pod).outbound => {
                            original_dst.addr()
                        }
                        port => gateway(world.topology, &record.pod, port, world.family()),
                    };
                    vips.extend(vip.map(|vip| (of(record.conn), vip)));
                }
                Event::Connect {
                    parent: Some(parent),
                    remote,
                    ..
                } => {
                    if let Some(vip) = vips.get(&of(*parent)) {
                        let known = self.known.entry((record.pod.clone(), *vip));
                        known.or_default().push_back(*remote);
                    }
                }
                _ => {}
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
