//! What a prediction needs to know: the lab, the rules in its sidecar pods, and what goes with those rules.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use hoplab_proxies::record::{Role, Transport};

use super::Memory;
use super::Opener;
use crate::{
    interception::Interception,
    kube_proxy,
    model::Host,
    rules::{Family, Policy, RuleSet, Table},
    topology::{NODE, Pod, Proxy, Topology, service_names},
};

/// A lab: its sidecar pods carry one rule set, but for those with rules of their own.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// The lab.
    pub topology: &'a Topology,
    /// Rules of every other sidecar pod; their family is that of the flows.
    pub rules: &'a RuleSet,
    /// Proxy, routes and marks that go with the rules.
    pub interception: &'a Interception,
    /// Pods with rules of their own, and what goes with those.
    own: BTreeMap<&'a str, (&'a RuleSet, &'a Interception)>,
    /// Connections of earlier flows that conntrack still knows.
    pub memory: Memory,
    /// Connections are met in their middle: a first packet has no SYN.
    pub(super) midway: bool,
    /// Endpoints that the node picked by chance, as `(VIP, endpoint)`, in order.
    picked: Vec<(SocketAddr, SocketAddr)>,
    /// Rules of every other pod.
    none: RuleSet,
}

impl<'a> World<'a> {
    /// Puts the three together.
    pub fn new(topology: &'a Topology, rules: &'a RuleSet, interception: &'a Interception) -> Self {
        Self {
            topology,
            rules,
            interception,
            own: BTreeMap::new(),
            memory: Memory::default(),
            midway: false,
            picked: Vec::new(),
            none: RuleSet::empty(rules.family),
        }
    }

    /// The same, with pods that have rules of their own.
    pub fn with_own(
        self,
        own: impl Iterator<Item = (&'a str, &'a RuleSet, &'a Interception)>,
    ) -> Self {
        let own = own.map(|(pod, rules, interception)| (pod, (rules, interception)));
        Self {
            own: own.collect(),
            ..self
        }
    }

    /// How the sidecar of a pod intercepts.
    pub fn interception_of(&self, pod: &str) -> &'a Interception {
        self.own.get(pod).map_or(self.interception, |(_, it)| it)
    }

    /// The same, with connections that conntrack knows from earlier.
    pub fn remembering(self, memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            ..self
        }
    }

    /// The same, for connections that conntrack meets in their middle, since it forgot them: it takes up what it does not
    /// know, and rules are asked as for a new connection (`tcp_new` in net/netfilter/nf_conntrack_proto_tcp.c, where
    /// `nf_conntrack_tcp_loose` is 1 unless it was changed).
    pub fn midway(self) -> Self {
        Self {
            midway: true,
            ..self
        }
    }

    /// The same, with what the node picked by chance. That nobody can predict: it is the one thing that is taken from what
    /// was observed, conntrack of the node, and everything else is held against it.
    pub fn picking(self, picked: Vec<(SocketAddr, SocketAddr)>) -> Self {
        Self { picked, ..self }
    }

    /// The rules that a packet to an address meets in the node: those that match by chance do, or do not, as they did for
    /// the connection of this number to that address.
    pub(super) fn node_rules_for(&self, to: SocketAddr, number: usize) -> Cow<'_, RuleSet> {
        let rules = self.rules_of(None);
        let mut picks = self.picked.iter().filter(|(vip, _)| *vip == to);
        match picks.nth(number) {
            None => Cow::Borrowed(rules),
            Some((_, endpoint)) => Cow::Owned(kube_proxy::having_picked(rules, *endpoint)),
        }
    }

    /// Family of rules and flows.
    pub fn family(&self) -> Family {
        self.rules.family
    }

    /// Loopback of the family.
    pub(super) fn localhost(&self) -> IpAddr {
        match self.family() {
            Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The rules a pod carries, or with none the node; a pod without a sidecar has none.
    pub(crate) fn rules_of(&self, pod: Option<&Pod>) -> &RuleSet {
        match pod {
            Some(pod) if pod.is_sidecar() => {
                let own = self.own.get(pod.name.as_str());
                own.map_or(self.rules, |(rules, _)| rules)
            }
            None => self.own.get(NODE).map_or(&self.none, |(rules, _)| rules),
            Some(_) => &self.none,
        }
    }

    /// Whether the rules of the place are looked at: those of a pod with a sidecar, and of a node that has some.
    pub(crate) fn has_rules(&self, pod: Option<&Pod>) -> bool {
        match pod {
            Some(pod) => pod.is_sidecar(),
            None => self.own.contains_key(NODE),
        }
    }

    /// Whether conntrack follows connections in a pod, or in the node.
    pub(crate) fn tracks(&self, pod: Option<&Pod>) -> bool {
        self.rules_of(pod).wakes_conntrack()
    }

    /// The routes of a pod. Marks are routed to lo where TPROXY or ztunnel is set up.
    pub(crate) fn host(&self, pod: Option<&Pod>) -> Host {
        let (interface, addr) = match pod {
            Some(pod) => (pod.interface.to_string(), pod.addr),
            None => (
                self.topology.network.bridge.to_string(),
                self.topology.network.node,
            ),
        };
        let local_marks = match pod.filter(|it| it.is_sidecar()) {
            Some(pod) => self.interception_of(&pod.name).local_marks(),
            None => Vec::new(),
        };
        let behind = pod
            .into_iter()
            .flat_map(|pod| self.topology.behind(&pod.name));
        let behind = behind.filter(|it| it.plugged);
        let behind = behind.map(|it| (it.addr.of(self.family()), it.host_interface.to_string()));
        let dns = self.topology.dns.as_ref().filter(|_| pod.is_none());
        Host {
            local_marks: Some(local_marks),
            behind: behind.collect(),
            also: dns.iter().map(|it| it.addr.of(self.family())).collect(),
            conntrack: self.tracks(pod),
            ..Host::new(interface, addr.of(self.family()))
        }
    }

    /// Whether a pod has a route to an address, for what it sends itself with a mark.
    pub(super) fn has_route(&self, pod: &Pod, to: IpAddr, mark: u32) -> bool {
        if !pod.plugged {
            return to.is_loopback();
        }
        let network = &self.topology.network;
        let on_link = match to {
            IpAddr::V4(it) => network.ipv4.contains(&it),
            IpAddr::V6(it) => network.ipv6.contains(&it),
        };
        // Where the mark alone does not tell, the journey will say so.
        let here = self.host(Some(pod)).delivers(to, mark);
        pod.default_route || on_link || here != Ok(false)
    }

    /// The interface of a pod, or of the node, that packets from another machine come in by.
    pub(crate) fn comes_in_by(&self, pod: Option<&Pod>, from: IpAddr) -> String {
        let host = self.host(pod);
        let by = host.behind.into_iter();
        let by = by
            .filter(|(address, _)| *address == from)
            .map(|(_, it)| it)
            .next();
        by.unwrap_or(host.interface)
    }

    /// User and group of a pod's proxy: a sidecar's is that of the interception, where it says so.
    pub(crate) fn proxy_owner(&self, pod: &Pod) -> (u32, u32) {
        let own = pod.proxy.as_ref().map_or((0, 0), Proxy::owner);
        match self.interception_of(&pod.name).owner {
            Some(owner) if pod.is_sidecar() => owner,
            _ => own,
        }
    }

    /// Mark of what a process opens by itself: ztunnel's.
    pub(super) fn mark_of(&self, pod: &str, role: Role) -> u32 {
        let sidecar = self.topology.pod(pod).is_some_and(Pod::is_sidecar);
        match role == Role::Proxy && sidecar {
            true => self.interception_of(pod).upstream_mark(),
            false => 0,
        }
    }

    /// The source that a captured pod sees of a connection from the node or another pod. The host's rules of ambient mode
    /// change that of the node's own.
    pub(super) fn seen_from(&self, opener: &Opener, transport: Transport, to: &Pod) -> IpAddr {
        let of_node = opener.pod == NODE && transport == Transport::Tcp && to.is_sidecar();
        let probes = self.interception.ztunnel.and_then(|it| it.probes);
        let of_family = usize::from(self.family() == Family::V6);
        match probes.filter(|_| of_node) {
            Some(probes) => probes[of_family],
            None => opener.source,
        }
    }

    /// The cluster's DNS server.
    pub(super) fn dns(&self) -> Option<SocketAddr> {
        let dns = self.topology.dns.as_ref()?;
        Some(SocketAddr::new(dns.addr.of(self.family()), DNS_PORT))
    }

    /// True for a name of the mesh, as a pod may spell it.
    pub(super) fn is_service(&self, name: &str) -> bool {
        let services = self.topology.services.iter().map(|it| &it.name);
        let headless = self.topology.headless.iter().map(|it| &it.name);
        let is = |it: &String| service_names(it).any(|it| it == name);
        services.chain(headless).any(is)
    }

    /// True for an address the node has.
    pub(super) fn is_node(&self, ip: IpAddr) -> bool {
        let dns = self.topology.dns.as_ref();
        self.topology.network.node.contains(ip) || dns.is_some_and(|d| d.addr.contains(ip))
    }

    /// Whether the rules only know first packets of a connection: what raw, mangle and filter do to every packet,
    /// need not be asked then.
    pub(super) fn only_nat(&self, pod: Option<&Pod>) -> bool {
        let idle = |(table, rules): (&Table, &crate::rules::TableRules)| {
            let lets =
                |c: &crate::rules::Chain| c.rules.is_empty() && c.policy != Some(Policy::Drop);
            *table == Table::Nat || rules.chains().iter().all(lets)
        };
        self.rules_of(pod).tables.iter().all(idle)
    }

    /// Endpoints behind a virtual address.
    pub(super) fn endpoints(&self, vip: SocketAddr) -> Option<Vec<SocketAddr>> {
        let service = self.topology.service_at(vip.ip());
        let service = service.filter(|s| s.port == vip.port())?;
        let pods = service
            .endpoints
            .iter()
            .filter_map(|e| self.topology.pod(e));
        let at = |pod: &Pod| SocketAddr::new(pod.addr.of(self.family()), service.port);
        Some(pods.map(at).collect())
    }
}

/// Port of DNS.
const DNS_PORT: u16 = 53;

/// The service address a gateway's listener stands for.
pub fn gateway_vip(topology: &Topology, pod: &Pod, family: Family) -> Option<SocketAddr> {
    match pod.proxy.as_ref()? {
        Proxy::Gateway { service, .. } => {
            let service = topology.service(service)?;
            Some(SocketAddr::new(service.vip.of(family), service.port))
        }
        Proxy::Sidecar { .. } => None,
    }
}
