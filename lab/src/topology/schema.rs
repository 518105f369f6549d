//! The lab file as TOML spells it. Unknown keys are refused; values keep their place in the file for complaints.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use toml::Spanned;

/// Rules or traversals by pod.
pub(super) type ByPod = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabFile {
    pub name: Spanned<String>,
    pub about: Option<String>,
    pub reports: Option<String>,
    #[serde(default)]
    pub families: Vec<Spanned<String>>,
    #[serde(default)]
    pub backends: Vec<Spanned<String>>,
    pub network: Option<Network>,
    pub rules: Spanned<Rules>,
    pub paths: Option<String>,
    pub dns: Option<Dns>,
    pub kube_proxy: Option<Spanned<bool>>,
    #[serde(default)]
    pub service: Vec<Service>,
    pub pod: Vec<Pod>,
    #[serde(default)]
    pub flow: Vec<Flow>,
    #[serde(default)]
    pub step: Vec<Step>,
    #[serde(default)]
    pub variant: Vec<Variant>,
    pub notes: Option<Notes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub bridge: Spanned<String>,
    pub ipv4: Ipv4Net,
    pub ipv6: Ipv6Net,
    pub node_ipv4: Spanned<Ipv4Addr>,
    pub node_ipv6: Spanned<Ipv6Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub profile: Option<Spanned<String>>,
    pub options: Option<Spanned<Vec<String>>>,
    pub file: Option<String>,
    pub file_ipv6: Option<String>,
    pub text: Option<String>,
    pub text_ipv6: Option<String>,
    #[serde(default)]
    pub edit: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dns {
    pub ipv4: Option<Spanned<Ipv4Addr>>,
    pub ipv6: Option<Spanned<Ipv6Addr>>,
    #[serde(default)]
    pub hosts: BTreeMap<Spanned<String>, DnsHost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsHost {
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub name: Spanned<String>,
    pub port: u16,
    pub cluster_ip: Option<Spanned<String>>,
    pub ipv4: Option<Spanned<Ipv4Addr>>,
    pub ipv6: Option<Spanned<Ipv6Addr>>,
    pub endpoints: Vec<Spanned<String>>,
}

impl Service {
    /// It has no virtual address.
    pub fn is_headless(&self) -> bool {
        self.cluster_ip.is_some()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pod {
    pub name: Spanned<String>,
    pub ipv4: Option<Spanned<Ipv4Addr>>,
    pub ipv6: Option<Spanned<Ipv6Addr>>,
    pub interface: Option<Spanned<String>>,
    pub host_interface: Option<Spanned<String>>,
    pub behind: Option<Spanned<String>>,
    pub plugged: Option<Spanned<bool>>,
    pub default_route: Option<Spanned<bool>>,
    #[serde(default)]
    pub sidecar: Option<Spanned<bool>>,
    pub app: Option<Spanned<App>>,
    pub gateway: Option<Spanned<Gateway>>,
    pub proxy_uid: Option<Spanned<u32>>,
    pub proxy_gid: Option<Spanned<u32>>,
    #[serde(default)]
    pub proxy_groups: Vec<Spanned<u32>>,
    pub rules: Option<Spanned<Rules>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    pub port: Option<Spanned<u16>>,
    pub ports: Option<Spanned<Vec<Spanned<u16>>>>,
    pub uid: Option<Spanned<u32>>,
    pub gid: Option<Spanned<u32>>,
    #[serde(default)]
    pub calls: Vec<Spanned<String>>,
}

impl App {
    /// Every port of it, however they are written.
    pub fn ports(&self) -> impl Iterator<Item = &Spanned<u16>> {
        let many = self.ports.iter().flat_map(|it| it.get_ref());
        self.port.iter().chain(many)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub port: Spanned<u16>,
    pub service: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flow {
    pub name: Spanned<String>,
    #[serde(default)]
    pub about: String,
    pub from: Spanned<String>,
    pub to: Spanned<String>,
    pub path: Option<Spanned<String>>,
    pub lookup: Option<Spanned<String>>,
    pub over: Option<Spanned<String>>,
    pub answer: Option<Spanned<String>>,
    pub way: Option<Spanned<String>>,
    pub answered_by: Option<Spanned<String>>,
    pub seen_source: Option<Spanned<String>>,
    pub original_dst: Option<Spanned<String>>,
    pub seen_port: Option<Spanned<String>>,
    pub source_port: Option<Spanned<u16>>,
    pub source: Option<Spanned<String>>,
    pub give_up_ms: Option<Spanned<u64>>,
    pub hold: Option<Spanned<String>>,
    pub resume: Option<Spanned<String>>,
    #[serde(default)]
    pub nat: ByPod,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub name: Spanned<String>,
    #[serde(default)]
    pub about: String,
    pub pod: Option<Spanned<String>>,
    pub edit: Option<Spanned<Vec<Spanned<String>>>>,
    pub apply: Option<Spanned<Rules>>,
    pub init: Option<Spanned<String>>,
    pub stop: Option<Spanned<String>>,
    pub start: Option<Spanned<String>>,
    pub restart: Option<Spanned<String>>,
    pub flush: Option<Spanned<String>>,
    pub plug: Option<Spanned<String>>,
    pub unplug: Option<Spanned<String>>,
    pub release: Option<Spanned<String>>,
    pub invalid: Option<Spanned<String>>,
    pub moves: Option<Spanned<ByPod>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub name: Spanned<String>,
    #[serde(default)]
    pub about: String,
    pub pod: Option<Spanned<String>>,
    pub rules: Option<Spanned<Rules>>,
    #[serde(default)]
    pub edit: Vec<Spanned<String>>,
    #[serde(default)]
    pub app: BTreeMap<Spanned<String>, Ids>,
    #[serde(default)]
    pub proxy: BTreeMap<Spanned<String>, Ids>,
    pub verdict: Option<Spanned<String>>,
    #[serde(default)]
    pub flows: Vec<Spanned<String>>,
    pub rule: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ids {
    pub uid: Spanned<u32>,
    pub gid: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notes {
    pub table: Spanned<String>,
    pub reply: Reading,
    pub call: Reading,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reading {
    pub flow: Spanned<String>,
    pub pod: Spanned<String>,
    pub caller: Spanned<String>,
    pub callee: Option<Spanned<String>>,
}
