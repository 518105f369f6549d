//! The plan of a lab: everything the supervisor needs to build it, computed from the lab file and the rules. Pure.

use std::{fmt::Write as _, net::SocketAddr};

use hoplab_proxies::wire::{
    AppCall, AppConfig, GatewayRoute, Part, ProxyConfig, ServiceRoute, SidecarPorts, StubConfig,
};
use serde::{Deserialize, Serialize};

use crate::{
    ports,
    rules::{BackendChoice, Family},
    topology::{Pod, Proxy, Topology},
};

/// Connections a stub proxy serves at once; one more is refused and logged.
const MAX_CONNECTIONS: usize = 10_000;

/// What the supervisor builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the lab.
    pub lab: String,
    /// Which iptables to run.
    pub backend: BackendChoice,
    /// Rules for sidecar pods.
    pub rules: RuleTexts,
    /// The node.
    pub node: NodePlan,
    /// Text of /etc/hosts.
    pub hosts: String,
    /// Pods.
    pub pods: Vec<PodPlan>,
}

/// Restore texts, as they are given to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTexts {
    /// For iptables-restore.
    pub v4: String,
    /// For ip6tables-restore; none writes an empty file, as istio-init does with IPv6 off.
    pub v6: Option<String>,
    /// Profile whose variables the istio-init log shows; none for a file of a person's own.
    pub profile: Option<String>,
}

impl RuleTexts {
    /// The text of one family.
    pub fn of(&self, family: Family) -> Option<&str> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_deref(),
        }
    }
}

/// The node namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Name of the bridge.
    pub bridge: String,
    /// Addresses of the bridge.
    pub addresses: Vec<(std::net::IpAddr, u8)>,
    /// Sysctls, in path form.
    pub sysctls: Vec<(String, String)>,
}

/// A pod's link: eth0 inside, the other end at the node's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Interface in the pod.
    pub interface: String,
    /// Interface in the node namespace.
    pub host_interface: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(std::net::IpAddr, u8)>,
    /// Default gateways, one per family.
    pub gateways: Vec<std::net::IpAddr>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// Name of pod and namespace.
    pub name: String,
    /// Its link.
    pub link: LinkPlan,
    /// Further addresses of lo (`::6` where IPv6 rules are on, as istio-init adds it).
    pub loopback: Vec<(std::net::IpAddr, u8)>,
    /// Sysctls, in path form.
    pub sysctls: Vec<(String, String)>,
    /// Sysctls that exist once the rules have loaded conntrack, in path form.
    pub conntrack_sysctls: Vec<(String, String)>,
    /// True when the rules are applied here.
    pub intercepted: bool,
    /// Processes, in the order they start.
    pub processes: Vec<ProcessPlan>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// First line of its standard input.
    pub config: StubConfig,
}

/// Computes the plan of a topology.
pub fn plan(topology: &Topology, rules: RuleTexts, backend: BackendChoice) -> Plan {
    let network = &topology.network;
    let prefix = (network.ipv4.prefix_len(), network.ipv6.prefix_len());
    let both =
        |a: crate::topology::Addresses| vec![(a.v4.into(), prefix.0), (a.v6.into(), prefix.1)];
    let v6_rules = rules.v6.is_some();
    Plan {
        lab: topology.name.clone(),
        backend,
        node: NodePlan {
            bridge: network.bridge.to_string(),
            addresses: both(network.node),
            sysctls: sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                // An unreachable address is told at once, every time.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
                ("net/ipv6/conf/all/forwarding", "1"),
            ]),
        },
        hosts: hosts(topology),
        pods: topology
            .pods
            .iter()
            .map(|pod| PodPlan {
                name: pod.name.clone(),
                link: LinkPlan {
                    interface: pod.interface.to_string(),
                    host_interface: pod.host_interface.to_string(),
                    addresses: both(pod.addr),
                    gateways: vec![network.node.v4.into(), network.node.v6.into()],
                },
                loopback: if pod.is_sidecar() && v6_rules {
                    vec![(INBOUND_SOURCE[1], 128)]
                } else {
                    Vec::new()
                },
                sysctls: sysctls(&[]),
                conntrack_sysctls: own(CONNTRACK_SYSCTLS),
                intercepted: pod.is_sidecar(),
                processes: processes(topology, pod),
            })
            .collect(),
        rules,
    }
}

/// Source of inbound upstream connections, IPv4 and IPv6 (Istio's InboundPassthroughBindIpv4 and -Ipv6).
pub const INBOUND_SOURCE: [std::net::IpAddr; 2] = [
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 6)),
    std::net::IpAddr::V6(std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

/// What every namespace of a lab sets, and why: addresses usable at once (accept_dad), no reverse path surprises,
/// low ports free for anyone as in container runtimes.
fn sysctls(more: &[(&str, &str)]) -> Vec<(String, String)> {
    const COMMON: &[(&str, &str)] = &[
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
    ];
    own(COMMON).into_iter().chain(own(more)).collect()
}

/// Off in a new namespace: entries with counters and times, and events (2, the default of late kernels, would do).
const CONNTRACK_SYSCTLS: &[(&str, &str)] = &[
    ("net/netfilter/nf_conntrack_events", "1"),
    ("net/netfilter/nf_conntrack_acct", "1"),
    ("net/netfilter/nf_conntrack_timestamp", "1"),
];

fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_string(), (*v).to_string()))
        .collect()
}

fn hosts(topology: &Topology) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for service in &topology.services {
        for addr in [service.vip.v4.to_string(), service.vip.v6.to_string()] {
            let name = &service.name;
            let _ = writeln!(
                text,
                "{addr} {name} {name}.default {name}.default.svc.cluster.local"
            );
        }
    }
    for pod in &topology.pods {
        let _ = writeln!(text, "{} {}", pod.addr.v4, pod.name);
        let _ = writeln!(text, "{} {}", pod.addr.v6, pod.name);
    }
    text
}

fn processes(topology: &Topology, pod: &Pod) -> Vec<ProcessPlan> {
    let proxy = pod.proxy.as_ref().map(|proxy| {
        let (uid, gid) = proxy.owner();
        ProcessPlan {
            uid,
            gid,
            config: StubConfig {
                pod: pod.name.clone(),
                part: Part::Proxy(proxy_config(topology, proxy)),
            },
        }
    });
    let app = pod.app.as_ref().map(|app| ProcessPlan {
        uid: app.uid,
        gid: app.gid,
        config: StubConfig {
            pod: pod.name.clone(),
            part: Part::App(AppConfig {
                service: service_of(topology, pod),
                port: app.port,
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

fn proxy_config(topology: &Topology, proxy: &Proxy) -> ProxyConfig {
    let (sidecar, gateway) = match proxy {
        Proxy::Sidecar { .. } => (
            Some(SidecarPorts {
                outbound: ports::OUTBOUND,
                inbound: ports::INBOUND,
                inbound_source: INBOUND_SOURCE,
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
    ProxyConfig {
        sidecar,
        gateway,
        health_ports: vec![ports::AGENT, ports::READINESS],
        metrics_port: ports::METRICS,
        admin_port: ports::ADMIN,
        services: routes(topology),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{builtin, rules::Backend};

    fn bookinfo(v6: bool) -> Plan {
        let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
        let topology = Topology::parse(text, "bookinfo.toml").expect("valid");
        let texts = RuleTexts {
            v4: "v4 rules".into(),
            v6: v6.then(|| "v6 rules".into()),
            profile: None,
        };
        plan(&topology, texts, BackendChoice::Fixed(Backend::Nft))
    }

    fn pod<'p>(plan: &'p Plan, name: &str) -> &'p PodPlan {
        let pod = plan.pods.iter().find(|p| p.name == name);
        pod.expect("a pod of bookinfo")
    }

    #[test]
    fn only_sidecar_pods_are_intercepted() {
        let plan = bookinfo(false);
        let intercepted: Vec<&str> = plan
            .pods
            .iter()
            .filter(|p| p.intercepted)
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(
            intercepted,
            [
                "productpage-v1",
                "details-v1",
                "reviews-v1",
                "reviews-v2",
                "reviews-v3",
                "ratings-v1"
            ]
        );
    }

    #[test]
    fn the_ipv6_source_of_the_proxy_is_on_lo_only_where_ipv6_rules_are() {
        assert!(pod(&bookinfo(false), "reviews-v1").loopback.is_empty());
        let with_v6 = bookinfo(true);
        assert_eq!(
            pod(&with_v6, "reviews-v1").loopback,
            [(INBOUND_SOURCE[1], 128)]
        );
        assert!(pod(&with_v6, "client").loopback.is_empty());
    }

    #[test]
    fn the_proxy_starts_before_the_app_and_each_as_its_own_user() {
        let plan = bookinfo(false);
        let ids: Vec<(u32, u32)> = pod(&plan, "reviews-v1")
            .processes
            .iter()
            .map(|p| (p.uid, p.gid))
            .collect();
        assert_eq!(ids, [(1337, 1337), (1000, 1000)]);
    }

    #[test]
    fn names_resolve_as_in_kubernetes_for_both_families() {
        let hosts = bookinfo(false).hosts;
        for line in [
            "10.96.0.13 reviews reviews.default reviews.default.svc.cluster.local",
            "fd96::13 reviews reviews.default reviews.default.svc.cluster.local",
            "10.77.0.13 reviews-v1",
        ] {
            assert!(
                hosts.lines().any(|l| l == line),
                "no line `{line}` in\n{hosts}"
            );
        }
    }

    #[test]
    fn a_service_has_one_route_per_family_with_its_endpoints_in_turn() {
        let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
        let topology = Topology::parse(text, "bookinfo.toml").expect("valid");
        let routes = routes(&topology);
        let reviews: Vec<_> = routes.iter().filter(|r| r.service == "reviews").collect();
        assert_eq!(reviews.len(), 2);
        assert_eq!(reviews[0].vip.to_string(), "10.96.0.13:9080");
        let endpoints: Vec<String> = reviews[0]
            .endpoints
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            endpoints,
            ["10.77.0.13:9080", "10.77.0.14:9080", "10.77.0.15:9080"]
        );
        assert_eq!(reviews[1].vip.to_string(), "[fd96::13]:9080");
    }
}
