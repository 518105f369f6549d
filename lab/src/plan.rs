//! The plan of a lab: everything the supervisor needs to build it, computed from the lab file and the rules. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use hoplab_proxies::{
    record::Role,
    wire::{Part, StubConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    interception::Interception,
    istio::routes::Step,
    rules::{BackendChoice, OwnerNames, Written},
    topology::{Pod, Topology},
    traced::Tracing,
};

mod commands;
mod etc;
mod link;
mod processes;
mod sysctls;

pub use crate::topology::NODE;
pub use commands::commands;
use etc::{group, hosts, passwd, resolv_conf};
pub(crate) use link::link;
pub use processes::routes;
use processes::{dns_server, processes};
use sysctls::{
    CONNTRACK_SYSCTLS, FORWARDING, NO_REDIRECTS, NOT_ON_THE_BRIDGE, UNREACHABLE, own, sysctls,
};

/// What the supervisor builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the lab.
    pub lab: String,
    /// Which iptables to run, where rules are for iptables.
    pub backend: BackendChoice,
    /// Which packets are traced in the pods.
    #[serde(default)]
    pub tracing: Tracing,
    /// Bytes each socket that listens to the kernel in a pod may hold of what nobody has read yet; none: the usual room.
    #[serde(default)]
    pub event_room: Option<usize>,
    /// Rules for sidecar pods.
    pub rules: RuleTexts,
    /// The node.
    pub node: NodePlan,
    /// Files of /etc that the lab has of its own.
    pub files: Files,
    /// Pods.
    pub pods: Vec<PodPlan>,
    /// Who has which address on the bridge: the node and every pod. What is behind a pod is at that pod.
    pub neighbours: Vec<(IpAddr, Mac)>,
}

/// Rules as they are given to the kernel, and what goes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTexts {
    /// The texts. Of iptables one without IPv6 has that half off, and writes an empty file, as istio-init does.
    pub written: Written,
    /// What users and groups that the rules name are in the pods.
    pub names: OwnerNames,
    /// What goes beside the rules in each pod that gets them: policy rules, routes, an address.
    pub routes: Vec<Step>,
    /// What the node gets, in ambient mode.
    pub host: Option<HostRules>,
    /// Variables that the istio-init log shows, by name; none for a file of a person's own.
    pub variables: Option<Vec<(String, String)>>,
}

/// The rules ambient mode sets on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRules {
    /// The texts.
    pub written: Written,
    /// Addresses of the captured pods, members of the sets that the rules name.
    pub pods: Vec<IpAddr>,
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
    /// The rules of kube-proxy, where the node has them.
    #[serde(default)]
    pub rules: Option<RuleTexts>,
    /// Sysctls that exist once the rules have loaded conntrack, in path form.
    #[serde(default)]
    pub conntrack_sysctls: Vec<(String, String)>,
    /// Sysctls that are there only where the machine has loaded br_netfilter, in path form.
    #[serde(default)]
    pub bridge_sysctls: Vec<(String, String)>,
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
    /// Who has which address behind the interface.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// What the other end is, where it is not a port of the node's bridge.
    #[serde(default)]
    pub behind: Option<RelayPlan>,
}

/// The other end of a link that leads to a pod, which forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPlan {
    /// The pod.
    pub pod: String,
    /// Link layer address of the end there.
    pub mac: Mac,
    /// Addresses of the end there: the pod's own, each alone. A REDIRECT leads to an address of the interface that a
    /// packet came in by (`nf_nat_redirect_ipv4` in net/netfilter/nf_nat_redirect.c).
    pub addresses: Vec<(IpAddr, u8)>,
    /// Addresses that are routed to the link.
    pub routes: Vec<IpAddr>,
    /// Who has them.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// Sysctls of the pod, in path form: it forwards.
    pub sysctls: Vec<(String, String)>,
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
    /// The link is there from the start.
    #[serde(default = "usually")]
    pub plugged: bool,
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
    /// Rules of its own, in place of the lab's.
    #[serde(default)]
    pub rules: Option<RuleTexts>,
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
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Keeps CAP_NET_ADMIN, which IP_TRANSPARENT and SO_MARK ask for.
    pub net_admin: bool,
    /// First line of its standard input.
    pub config: StubConfig,
}

impl ProcessPlan {
    /// What it plays.
    pub fn role(&self) -> Role {
        match self.config.part {
            Part::App(_) => Role::App,
            Part::Proxy(_) => Role::Proxy,
            Part::Probe => Role::Probe,
            Part::Dns(_) => Role::Dns,
        }
    }

    /// Its name for people: `app of reviews-v2`.
    pub fn name(&self) -> String {
        format!("{} of {}", self.role(), self.config.pod)
    }
}

impl Plan {
    /// A pod, by its name.
    pub fn pod(&self, name: &str) -> Option<&PodPlan> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// The rules that a pod gets, if it gets any.
    pub fn rules_of<'a>(&'a self, pod: &'a PodPlan) -> Option<&'a RuleTexts> {
        let rules = pod.rules.as_ref().unwrap_or(&self.rules);
        pod.intercepted.then_some(rules)
    }

    /// The same with the rules of each pod written down with the pod: from then on one pod's can be changed.
    pub fn with_rules_at_pods(mut self) -> Self {
        for at in 0..self.pods.len() {
            let rules = self.rules_of(&self.pods[at]).cloned();
            self.pods[at].rules = rules;
        }
        self
    }
}

/// Links are there from the start, but for those that a step plugs in.
fn usually() -> bool {
    true
}

/// What pods have that have rules of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodRules(pub BTreeMap<String, (Interception, RuleTexts)>);

/// Computes the plan of a topology.
pub fn plan(
    topology: &Topology,
    interception: &Interception,
    rules: RuleTexts,
    of_pods: &PodRules,
    backend: BackendChoice,
    tracing: Tracing,
) -> Plan {
    let network = &topology.network;
    let prefix = (network.ipv4.prefix_len(), network.ipv6.prefix_len());
    let both =
        |a: crate::topology::Addresses| vec![(a.v4.into(), prefix.0), (a.v6.into(), prefix.1)];
    Plan {
        lab: topology.name.clone(),
        backend,
        tracing,
        event_room: None,
        node: NodePlan {
            bridge: network.bridge.to_string(),
            mac: Mac::of(network.node.v4),
            forwarding: own(FORWARDING),
            addresses: both(network.node),
            loopback: topology.dns.as_ref().map_or_else(Vec::new, |dns| {
                vec![(dns.addr.v4.into(), 32), (dns.addr.v6.into(), 128)]
            }),
            processes: topology
                .dns
                .iter()
                .map(|dns| dns_server(topology, dns))
                .collect(),
            rules: of_pods.0.get(NODE).map(|it| it.1.clone()),
            conntrack_sysctls: own(CONNTRACK_SYSCTLS),
            bridge_sysctls: match topology.kube_proxy {
                true => own(NOT_ON_THE_BRIDGE),
                false => Vec::new(),
            },
            sysctls: match topology.kube_proxy {
                false => sysctls(UNREACHABLE),
                true => sysctls(&[UNREACHABLE, NO_REDIRECTS].concat()),
            },
        },
        neighbours: link::neighbours(topology),
        files: Files {
            hosts: hosts(topology),
            resolv_conf: topology.dns.as_ref().map(resolv_conf),
            passwd: passwd(&rules.names),
            group: group(&rules.names),
        },
        pods: topology
            .pods
            .iter()
            .map(|pod| (pod, of_pods.0.get(&pod.name)))
            .map(|(pod, mine)| PodPlan {
                name: pod.name.clone(),
                link: link(topology, pod),
                plugged: pod.plugged,
                loopback: beside(mine.map_or(&rules, |it| &it.1), pod)
                    .filter_map(loopback_address)
                    .collect(),
                routes: beside(mine.map_or(&rules, |it| &it.1), pod)
                    .filter(|step| loopback_address(step).is_none())
                    .cloned()
                    .collect(),
                sysctls: sysctls(&[]),
                conntrack_sysctls: own(CONNTRACK_SYSCTLS),
                intercepted: pod.is_sidecar(),
                rules: mine.map(|it| it.1.clone()),
                processes: processes(topology, mine.map_or(interception, |it| &it.0), pod),
            })
            .collect(),
        rules,
    }
}

/// What goes beside the rules in a pod.
fn beside<'a>(rules: &'a RuleTexts, pod: &Pod) -> impl Iterator<Item = &'a Step> {
    let steps = if pod.is_sidecar() {
        rules.routes.as_slice()
    } else {
        &[]
    };
    steps.iter()
}

fn loopback_address(step: &Step) -> Option<(IpAddr, u8)> {
    match step {
        Step::LoopbackAddress(net) => Some((net.addr(), net.prefix_len())),
        Step::Rule { .. } | Step::LocalRoute { .. } => None,
    }
}

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;
