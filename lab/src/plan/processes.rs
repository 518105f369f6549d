//! The processes of pods and node, with the configuration each reads first.

use std::net::SocketAddr;

use hoplab_proxies::wire::{
    AppCall, AppConfig, DnsConfig, DnsProxy, GatewayRoute, NameRecord, Part, ProxyConfig,
    ServiceRoute, SidecarPorts, StubConfig,
};

use super::ProcessPlan;
use crate::{
    interception::Interception,
    ports,
    rules::Family,
    topology::{Addresses, Dns, NODE, Pod, Proxy, Topology, service_names},
};

/// Connections a stub proxy serves at once; one more is refused and logged.
const MAX_CONNECTIONS: usize = 10_000;

/// User and group of the cluster's DNS server: nobody's in particular, as in CoreDNS's own image.
const DNS_OWNER: u32 = 65_532;

pub(super) fn dns_server(topology: &Topology, dns: &Dns) -> ProcessPlan {
    let services: Vec<NameRecord> = service_records(topology).collect();
    // A service's own name goes before a host of the same name, as `Topology::resolve` has it.
    let own = |name: &str| services.iter().any(|service| service.name == name);
    let hosts = dns.hosts.iter().filter(|(name, _)| !own(name));
    let hosts: Vec<NameRecord> = hosts
        .map(|(name, at)| NameRecord {
            name: name.clone(),
            addresses: vec![at.v4.into(), at.v6.into()],
        })
        .collect();
    ProcessPlan {
        uid: DNS_OWNER,
        gid: DNS_OWNER,
        groups: Vec::new(),
        net_admin: false,
        config: StubConfig {
            pod: NODE.to_owned(),
            part: Part::Dns(DnsConfig {
                listen: servers(dns),
                names: services.into_iter().chain(hosts).collect(),
            }),
        },
    }
}

/// Both addresses of the DNS server.
fn servers(dns: &Dns) -> Vec<SocketAddr> {
    [Family::V4, Family::V6]
        .map(|family| SocketAddr::new(dns.addr.of(family), ports::DNS_SERVER))
        .to_vec()
}

/// Every spelling of every service.
fn service_records(topology: &Topology) -> impl Iterator<Item = NameRecord> {
    let with_vip = topology.services.iter();
    let with_vip = with_vip.map(|service| (&service.name, vec![service.vip]));
    let headless = topology.headless.iter();
    let headless = headless.map(|service| (&service.name, topology.addresses_of(service)));
    with_vip.chain(headless).flat_map(|(service, at)| {
        let both = |it: Addresses| [it.v4.into(), it.v6.into()];
        let addresses: Vec<_> = at.into_iter().flat_map(both).collect();
        service_names(service).map(move |name| NameRecord {
            name,
            addresses: addresses.clone(),
        })
    })
}

pub(super) fn processes(
    topology: &Topology,
    interception: &Interception,
    pod: &Pod,
) -> Vec<ProcessPlan> {
    let proxy = pod.proxy.as_ref().map(|proxy| {
        let (uid, gid) = interception.owner_of(proxy);
        ProcessPlan {
            uid,
            gid,
            groups: pod.proxy_groups.clone(),
            net_admin: pod.is_sidecar() && interception.keeps_client().is_some(),
            config: StubConfig {
                pod: pod.name.clone(),
                part: Part::Proxy(proxy_config(topology, interception, pod, proxy)),
            },
        }
    });
    let app = pod.app.as_ref().map(|app| ProcessPlan {
        uid: app.uid,
        gid: app.gid,
        groups: Vec::new(),
        net_admin: false,
        config: StubConfig {
            pod: pod.name.clone(),
            part: Part::App(AppConfig {
                service: service_of(topology, pod),
                ports: app.ports.clone(),
                calls: app
                    .calls
                    .iter()
                    .filter_map(|call| {
                        Some(AppCall {
                            service: call.service.clone(),
                            port: topology.service(&call.service)?.port,
                            path: call.path.clone(),
                        })
                    })
                    .collect(),
            }),
        },
    });
    proxy.into_iter().chain(app).collect()
}

fn service_of(topology: &Topology, pod: &Pod) -> String {
    topology
        .services
        .iter()
        .find(|s| s.endpoints.contains(&pod.name))
        .map_or_else(|| pod.name.clone(), |s| s.name.clone())
}

fn proxy_config(
    topology: &Topology,
    interception: &Interception,
    pod: &Pod,
    proxy: &Proxy,
) -> ProxyConfig {
    let dns = interception.dns.map(|port| DnsProxy {
        port,
        also: match pod.relays {
            true => vec![pod.addr.v4.into(), pod.addr.v6.into()],
            false => Vec::new(),
        },
        names: service_records(topology).collect(),
        upstream: topology.dns.as_ref().map(servers).unwrap_or_default(),
    });
    let (sidecar, gateway) = match proxy {
        Proxy::Sidecar { .. } => (
            Some(SidecarPorts {
                outbound: interception.outbound,
                inbound: interception.inbound,
                inbound_source: interception.inbound_source,
                tproxy_mark: interception.keeps_client(),
                app_at_loopback: interception.app_at_loopback,
            }),
            None,
        ),
        Proxy::Gateway { port, service, .. } => (
            None,
            Some(GatewayRoute {
                port: *port,
                service: service.clone(),
            }),
        ),
    };
    let ztunnel = interception.ztunnel.filter(|_| sidecar.is_some());
    // ztunnel has these in a pod of its own.
    let own = |port: u16| ztunnel.is_none().then_some(port);
    let health = [ports::AGENT, ports::READINESS];
    ProxyConfig {
        dns: dns.filter(|_| sidecar.is_some()),
        sidecar,
        gateway,
        health_ports: health.into_iter().filter_map(own).collect(),
        metrics_port: own(ports::METRICS),
        admin_port: own(ports::ADMIN),
        tunnel_port: ztunnel.map(|_| ports::TUNNEL),
        services: routes(topology),
        upstream_mark: ztunnel.map(|it| it.mark),
        max_connections: MAX_CONNECTIONS,
    }
}

/// Service addresses and their endpoints; each address has a turn of its own.
pub fn routes(topology: &Topology) -> Vec<ServiceRoute> {
    let mut routes = Vec::new();
    for service in &topology.services {
        for family in [Family::V4, Family::V6] {
            let at = |ip| SocketAddr::new(ip, service.port);
            routes.push(ServiceRoute {
                service: service.name.clone(),
                vip: at(service.vip.of(family)),
                endpoints: service
                    .endpoints
                    .iter()
                    .filter_map(|name| topology.pod(name))
                    .map(|pod| at(pod.addr.of(family)))
                    .collect(),
            });
        }
    }
    routes
}
