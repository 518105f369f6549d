//! The plan of a lab: everything the supervisor needs to build it, computed from the lab file and the rules. Pure.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use hoplab_proxies::wire::{
    AppCall, AppConfig, DnsConfig, DnsProxy, GatewayRoute, NameRecord, Part, ProxyConfig,
    ServiceRoute, SidecarPorts, StubConfig,
};
use serde::{Deserialize, Serialize};

use crate::{
    interception::Interception,
    istio::routes::Step,
    ports,
    rules::{BackendChoice, Family, OwnerNames},
    topology::{Dns, Pod, Proxy, Topology, service_names},
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
    /// Files of /etc that the lab has of its own.
    pub files: Files,
    /// Pods.
    pub pods: Vec<PodPlan>,
    /// Who has which address on the bridge: the node and every pod.
    pub neighbours: Vec<(IpAddr, Mac)>,
}

/// Restore texts, as they are given to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTexts {
    /// For iptables-restore.
    pub v4: String,
    /// For ip6tables-restore; none writes an empty file, as istio-init does with IPv6 off.
    pub v6: Option<String>,
    /// What users and groups that the rules name are in the pods.
    pub names: OwnerNames,
    /// What goes beside the rules in each pod that gets them: policy rules, routes, an address.
    pub routes: Vec<Step>,
    /// Variables that the istio-init log shows, by name; none for a file of a person's own.
    pub variables: Option<Vec<(String, String)>>,
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

/// Files of /etc that pods have of their own, as containers do; none leaves the machine's in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Text of /etc/hosts.
    pub hosts: String,
    /// Text of /etc/resolv.conf, where the lab has a DNS server.
    pub resolv_conf: Option<String>,
    /// Text of /etc/passwd, where rules name users.
    pub passwd: Option<String>,
    /// Text of /etc/group, where rules name groups.
    pub group: Option<String>,
}

impl Files {
    /// What names in rules need, and nothing else: an /etc/hosts with localhost alone.
    pub fn naming(names: &OwnerNames) -> Self {
        Self {
            hosts: "127.0.0.1 localhost\n::1 localhost\n".to_owned(),
            resolv_conf: None,
            passwd: passwd(names),
            group: group(names),
        }
    }
}

/// The node namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Name of the bridge.
    pub bridge: String,
    /// Its link layer address.
    pub mac: Mac,
    /// Sysctls that are set once there is a bridge, in path form. A bridge that forwards when it appears joins the
    /// group of all routers, and reports it.
    pub forwarding: Vec<(String, String)>,
    /// Addresses of the bridge.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Further addresses of lo: those of the DNS server.
    pub loopback: Vec<(IpAddr, u8)>,
    /// Sysctls, in path form.
    pub sysctls: Vec<(String, String)>,
    /// Processes: the DNS server.
    pub processes: Vec<ProcessPlan>,
}

/// A pod's link: eth0 inside, the other end at the node's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Interface in the pod.
    pub interface: String,
    /// Interface in the node namespace.
    pub host_interface: String,
    /// Link layer address.
    pub mac: Mac,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default gateways, one per family.
    pub gateways: Vec<IpAddr>,
}

/// A link layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered address made of an IPv4 one.
    pub fn of(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0, a, b, c, d])
    }
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// Name of pod and namespace.
    pub name: String,
    /// Its link.
    pub link: LinkPlan,
    /// Further addresses of lo (`::6` where IPv6 rules are on, as istio-init adds it).
    pub loopback: Vec<(IpAddr, u8)>,
    /// Policy rules and routes that go with the rules.
    pub routes: Vec<Step>,
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
    /// Keeps CAP_NET_ADMIN, which IP_TRANSPARENT and SO_MARK ask for.
    pub net_admin: bool,
    /// First line of its standard input.
    pub config: StubConfig,
}

/// Computes the plan of a topology.
pub fn plan(
    topology: &Topology,
    interception: &Interception,
    rules: RuleTexts,
    backend: BackendChoice,
) -> Plan {
    let network = &topology.network;
    let prefix = (network.ipv4.prefix_len(), network.ipv6.prefix_len());
    let both =
        |a: crate::topology::Addresses| vec![(a.v4.into(), prefix.0), (a.v6.into(), prefix.1)];
    Plan {
        lab: topology.name.clone(),
        backend,
        node: NodePlan {
            bridge: network.bridge.to_string(),
            mac: Mac::of(network.node.v4),
            forwarding: own(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
            ]),
            addresses: both(network.node),
            loopback: topology.dns.as_ref().map_or_else(Vec::new, |dns| {
                vec![(dns.addr.v4.into(), 32), (dns.addr.v6.into(), 128)]
            }),
            processes: topology
                .dns
                .iter()
                .map(|dns| dns_server(topology, dns))
                .collect(),
            sysctls: sysctls(&[
                // An unreachable address is told at once, every time.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ]),
        },
        neighbours: neighbours(topology),
        files: Files {
            hosts: hosts(topology),
            resolv_conf: topology.dns.as_ref().map(resolv_conf),
            passwd: passwd(&rules.names),
            group: group(&rules.names),
        },
        pods: topology
            .pods
            .iter()
            .map(|pod| PodPlan {
                name: pod.name.clone(),
                link: LinkPlan {
                    interface: pod.interface.to_string(),
                    host_interface: pod.host_interface.to_string(),
                    mac: Mac::of(pod.addr.v4),
                    addresses: both(pod.addr),
                    gateways: vec![network.node.v4.into(), network.node.v6.into()],
                },
                loopback: beside(&rules, pod).filter_map(loopback_address).collect(),
                routes: beside(&rules, pod)
                    .filter(|step| loopback_address(step).is_none())
                    .cloned()
                    .collect(),
                sysctls: sysctls(&[]),
                conntrack_sysctls: own(CONNTRACK_SYSCTLS),
                intercepted: pod.is_sidecar(),
                processes: processes(topology, interception, pod),
            })
            .collect(),
        rules,
    }
}

fn neighbours(topology: &Topology) -> Vec<(IpAddr, Mac)> {
    let pods = topology.pods.iter().map(|pod| pod.addr);
    let all = pods.chain([topology.network.node]);
    all.flat_map(|addr| {
        [
            (addr.v4.into(), Mac::of(addr.v4)),
            (addr.v6.into(), Mac::of(addr.v4)),
        ]
    })
    .collect()
}

/// What goes beside the rules in a pod.
fn beside<'a>(rules: &'a RuleTexts, pod: &Pod) -> impl Iterator<Item = &'a Step> {
    let steps = rules.routes.iter();
    steps
        .filter(|_| pod.is_sidecar())
        .collect::<Vec<_>>()
        .into_iter()
}

fn loopback_address(step: &Step) -> Option<(IpAddr, u8)> {
    match step {
        Step::LoopbackAddress(net) => Some((net.addr(), net.prefix_len())),
        Step::Rule { .. } | Step::LocalRoute { .. } => None,
    }
}

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

fn resolv_conf(dns: &Dns) -> String {
    format!("nameserver {}\nnameserver {}\n", dns.addr.v4, dns.addr.v6)
}

/// None where no rule names a user. The names that every process of a lab has come first.
fn passwd(names: &OwnerNames) -> Option<String> {
    let own = |(name, id): (&String, &u32)| format!("{name}:x:{id}:{id}::/:/usr/sbin/nologin\n");
    let more: String = names.users.iter().map(own).collect();
    (!more.is_empty()).then(|| {
        format!("root:x:0:0:root:/:/bin/sh\nistio-proxy:x:1337:1337::/:/usr/sbin/nologin\n{more}")
    })
}

/// None where no rule names a group.
fn group(names: &OwnerNames) -> Option<String> {
    let more: String = names
        .groups
        .iter()
        .map(|(name, id)| format!("{name}:x:{id}:\n"))
        .collect();
    (!more.is_empty()).then(|| format!("root:x:0:\nistio-proxy:x:1337:\n{more}"))
}

/// User and group of the cluster's DNS server: nobody's in particular, as in CoreDNS's own image.
const DNS_OWNER: u32 = 65_532;

fn dns_server(topology: &Topology, dns: &Dns) -> ProcessPlan {
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

/// What processes of the node call their pod in the logs.
pub const NODE: &str = "node";

/// Both addresses of the DNS server.
fn servers(dns: &Dns) -> Vec<SocketAddr> {
    [Family::V4, Family::V6]
        .map(|family| SocketAddr::new(dns.addr.of(family), ports::DNS_SERVER))
        .to_vec()
}

/// Every spelling of every service.
fn service_records(topology: &Topology) -> impl Iterator<Item = NameRecord> {
    topology.services.iter().flat_map(|service| {
        service_names(&service.name).map(|name| NameRecord {
            name,
            addresses: vec![service.vip.v4.into(), service.vip.v6.into()],
        })
    })
}

fn processes(topology: &Topology, interception: &Interception, pod: &Pod) -> Vec<ProcessPlan> {
    let proxy = pod.proxy.as_ref().map(|proxy| {
        let (uid, gid) = interception.owner_of(proxy);
        ProcessPlan {
            uid,
            gid,
            net_admin: pod.is_sidecar() && interception.tproxy.is_some(),
            config: StubConfig {
                pod: pod.name.clone(),
                part: Part::Proxy(proxy_config(topology, interception, proxy)),
            },
        }
    });
    let app = pod.app.as_ref().map(|app| ProcessPlan {
        uid: app.uid,
        gid: app.gid,
        net_admin: false,
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

fn proxy_config(topology: &Topology, interception: &Interception, proxy: &Proxy) -> ProxyConfig {
    let dns = interception.dns.map(|port| DnsProxy {
        port,
        names: service_records(topology).collect(),
        upstream: topology.dns.as_ref().map(servers).unwrap_or_default(),
    });
    let (sidecar, gateway) = match proxy {
        Proxy::Sidecar { .. } => (
            Some(SidecarPorts {
                outbound: interception.outbound,
                inbound: interception.inbound,
                inbound_source: interception.inbound_source,
                tproxy_mark: interception.tproxy.map(|it| it.mark),
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
        dns: dns.filter(|_| sidecar.is_some()),
        sidecar,
        gateway,
        health_ports: vec![ports::AGENT, ports::READINESS],
        metrics_port: ports::METRICS,
        admin_port: ports::ADMIN,
        services: routes(topology),
        upstream_mark: None,
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
    use crate::{builtin, interception::INBOUND_SOURCE, istio::routes, rules::Backend};

    fn bookinfo(v6: bool) -> Plan {
        let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
        let topology = Topology::parse(text, "bookinfo.toml").expect("valid");
        let texts = RuleTexts {
            v4: "v4 rules".into(),
            v6: v6.then(|| "v6 rules".into()),
            names: OwnerNames::default(),
            routes: routes::sidecar_with(v6, None),
            variables: None,
        };
        let interception = Interception::default();
        plan(
            &topology,
            &interception,
            texts,
            BackendChoice::Fixed(Backend::Nft),
        )
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
        let hosts = bookinfo(false).files.hosts;
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
