//! The lab file and what it describes: pods, services, addresses, flows. Pure: text in, validated values out.
//!
//! [`Topology::parse`] is the only way to a [`Topology`], so whoever holds one holds a valid one.

mod asked;
mod check;
mod flow;
mod names;
mod parse;
mod pod;
mod scenario;
mod schema;
mod source;
mod step;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use asked::Asked;
pub use check::is_name;
pub use flow::{
    Actor, Answer, Ask, Expected, Flow, Notes, NotesCall, NotesReply, Sender, Target, path_words,
};
pub use names::{InterfaceName, NODE};
pub use pod::{App, Pod, Proxy, ServiceCall};
pub use scenario::{Connection, Place, Seen, SeenPort, SeenSource, Variant, Way};
pub use step::{Action, Entry, Process, ProcessRole, RulePlace, Step};

use crate::rules::{Backend, Edit, Family};

/// A validated lab file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Name of the lab.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub about: Option<String>,
    /// Public reports of the incident it plays, for people.
    #[serde(default)]
    pub reports: Option<String>,
    /// Families its flows make sense over; none is every family it has rules for.
    #[serde(default)]
    pub families: Vec<Family>,
    /// Backends it makes sense on; none is all.
    #[serde(default)]
    pub backends: Vec<Backend>,
    /// Addresses of the node and the pod network.
    pub network: Network,
    /// Where the rules of sidecar pods come from.
    pub rules: RuleSource,
    /// Changes of these rules.
    #[serde(default)]
    pub edit: Vec<Edit>,
    /// Folder of the golden paths, relative to the lab file.
    #[serde(default)]
    pub paths: Option<String>,
    /// The cluster's DNS server, where the lab has one.
    pub dns: Option<Dns>,
    /// The node has the rules of kube-proxy, and every packet between pods goes through it.
    #[serde(default)]
    pub kube_proxy: bool,
    /// Services in the order of the file.
    pub services: Vec<Service>,
    /// Services without a virtual address, in the order of the file.
    #[serde(default)]
    pub headless: Vec<Headless>,
    /// Pods in the order of the file.
    pub pods: Vec<Pod>,
    /// Flows in the order they run.
    pub flows: Vec<Flow>,
    /// What is done to the lab among the flows.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Flows and steps in the order of the file.
    #[serde(default)]
    pub script: Vec<Entry>,
    /// Other rules or owners for the same flows, and what the verdict must be then.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// What the notes under test say about this lab, if they do.
    pub notes: Option<Notes>,
}

/// The pod network and the node's place in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Bridge in the node namespace.
    pub bridge: InterfaceName,
    /// IPv4 pod network.
    pub ipv4: Ipv4Net,
    /// IPv6 pod network.
    pub ipv6: Ipv6Net,
    /// Node address and default gateway of every pod, one per family.
    pub node: Addresses,
}

/// The cluster's DNS server: in the node, known to every pod, and knows every service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Its addresses, one per family.
    pub addr: Addresses,
    /// Names it knows beside the services', such as an outside host's.
    pub hosts: BTreeMap<String, Addresses>,
}

/// One address per family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4 address.
    pub v4: std::net::Ipv4Addr,
    /// IPv6 address.
    pub v6: std::net::Ipv6Addr,
}

impl Addresses {
    /// The address of one family.
    pub fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// True when `addr` is one of the two.
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr == IpAddr::from(self.v4) || addr == IpAddr::from(self.v6)
    }
}

/// Where a lab's rules come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleSource {
    /// A rule set with a name, such as `istio-1.13`.
    Profile(String),
    /// What the installer of a profile's mesh writes with these flags.
    Options {
        /// Name of the profile.
        profile: String,
        /// Flags and values.
        options: Vec<String>,
    },
    /// Restore texts in the lab file itself.
    Text {
        /// For `iptables-restore`.
        v4: String,
        /// For `ip6tables-restore`.
        v6: Option<String>,
    },
    /// Restore files, relative to the lab file.
    Files {
        /// For `iptables-restore`.
        v4: String,
        /// For `ip6tables-restore`.
        v6: Option<String>,
    },
}

/// A service: one virtual address per family, and the pods behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Name that pods resolve.
    pub name: String,
    /// Virtual addresses.
    pub vip: Addresses,
    /// Port of the service; the endpoints' app port.
    pub port: u16,
    /// Names of pods, in the order a proxy takes them.
    pub endpoints: Vec<String>,
}

/// A service without a virtual address (`clusterIP: None`): its name has the addresses of the pods behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headless {
    /// Name that pods resolve.
    pub name: String,
    /// Names of pods, in the order of the file.
    pub endpoints: Vec<String>,
}

impl Topology {
    /// A pod by name.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|p| p.name == name)
    }

    /// The pods behind a pod.
    pub fn behind<'t>(&'t self, pod: &'t str) -> impl Iterator<Item = &'t Pod> {
        let mut pods = self.pods.iter();
        std::iter::from_fn(move || pods.find(|it| it.behind.as_deref() == Some(pod)))
    }

    /// The pod that a packet to an address comes to next, and by which interface; none is the node, or what lies beyond.
    /// `from` is the pod that it leaves.
    pub fn next_hop(&self, from: Option<&Pod>, to: IpAddr) -> Option<(&Pod, String)> {
        if let Some((inner, outer)) = from.and_then(|it| Some((it, it.behind.as_ref()?))) {
            return Some((self.pod(outer)?, inner.host_interface.to_string()));
        }
        let there = self.pod_at(to)?;
        let outer = there.behind.as_ref().and_then(|it| self.pod(it));
        match outer.filter(|outer| from.is_none_or(|it| it.name != outer.name)) {
            Some(outer) => Some((outer, outer.interface.to_string())),
            None => Some((there, there.interface.to_string())),
        }
    }

    /// A service by name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }

    /// A variant by name.
    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|v| v.name == name)
    }

    /// A flow by name.
    pub fn flow(&self, name: &str) -> Option<&Flow> {
        self.flows.iter().find(|f| f.name == name)
    }

    /// Names of the pods with interception rules.
    pub fn sidecars(&self) -> impl Iterator<Item = &str> {
        self.pods
            .iter()
            .filter(|p| p.is_sidecar())
            .map(|p| p.name.as_str())
    }

    /// The addresses of a name as a pod may spell it: a service (`reviews`, `reviews.default`, with `svc` and with
    /// `svc.cluster.local`), or a host of [`Dns::hosts`].
    pub fn resolve(&self, name: &str) -> Option<Vec<Addresses>> {
        let is = |service: &str| service_names(service).any(|it| it == name);
        let service = self.services.iter().find(|it| is(&it.name));
        let headless = || self.headless.iter().find(|it| is(&it.name));
        let host = || self.dns.as_ref()?.hosts.get(name).copied();
        service
            .map(|it| vec![it.vip])
            .or_else(|| headless().map(|it| self.addresses_of(it)))
            .or_else(|| host().map(|it| vec![it]))
    }

    /// The addresses of the pods behind a service without a virtual one.
    pub fn addresses_of(&self, service: &Headless) -> Vec<Addresses> {
        let pods = service.endpoints.iter().filter_map(|it| self.pod(it));
        pods.map(|it| it.addr).collect()
    }

    /// The pod that owns an address.
    pub fn pod_at(&self, addr: IpAddr) -> Option<&Pod> {
        self.pods.iter().find(|p| p.addr.contains(addr))
    }

    /// The service behind a virtual address.
    pub fn service_at(&self, addr: IpAddr) -> Option<&Service> {
        self.services.iter().find(|s| s.vip.contains(addr))
    }
}

/// The names Kubernetes gives a service of the namespace `default`.
pub fn service_names(service: &str) -> impl Iterator<Item = String> + use<'_> {
    ["", ".default", ".default.svc", ".default.svc.cluster.local"]
        .into_iter()
        .map(move |rest| format!("{service}{rest}"))
}

#[cfg(test)]
mod pod_tests;
#[cfg(test)]
mod scenario_tests;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
