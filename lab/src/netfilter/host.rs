//! The rules that ambient mode sets on the host: kubelet's probes get a source address that pods leave alone. The node of
//! the lab is the host.

use std::net::IpAddr;

use super::{
    NetfilterError,
    backend::Backend,
    ipset::make_set,
    istio_init,
    native::{self, nft},
};
use crate::{
    istio::ambient::probe_set,
    plan::{HostRules, RuleTexts},
    rules::{Family, Written},
};

/// What holds the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// One of the two iptables.
    Iptables(Backend),
    /// nft itself.
    Nft,
}

/// Makes the sets and applies the rules, in the namespace the calling thread is in.
///
/// # Errors
/// A program is missing or refuses, the kernel has no sets, or holds something else afterwards.
pub fn apply_host(tool: Tool, rules: &HostRules, place: &str) -> Result<(), NetfilterError> {
    for family in [Family::V4, Family::V6] {
        let members: Vec<IpAddr> = of(&rules.pods, family).collect();
        match tool {
            Tool::Iptables(_) => make_set(probe_set(family), family, &members)?,
            Tool::Nft => nft(&nft_set(family, &members), place)?,
        }
    }
    let texts = RuleTexts {
        written: rules.written.clone(),
        ..RuleTexts::default()
    };
    match (tool, &rules.written) {
        (Tool::Nft, Written::Nft { nft }) => native::apply(nft, &texts, place).map(drop),
        (Tool::Iptables(backend), _) => istio_init::apply(backend, &texts, place).map(drop),
        (Tool::Nft, Written::Iptables(_)) => unreachable!("the rules decide on the tool"),
    }
}

fn of(pods: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> {
    let pods = pods.iter().copied();
    pods.filter(move |ip| Family::of(*ip) == family)
}

/// Sets of nft belong to their table, so it is there before its rules.
fn nft_set(family: Family, members: &[IpAddr]) -> String {
    const TABLE: &str = "inet istio-ambient-nat";
    let (name, kind) = match family {
        Family::V4 => (probe_set(family), "ipv4_addr"),
        Family::V6 => (probe_set(family), "ipv6_addr"),
    };
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    let members = members.join(", ");
    format!(
        "add table {TABLE}\nadd set {TABLE} {name} {{ type {kind} ; }}\nadd element {TABLE} {name} {{ {members} }}\n"
    )
}
