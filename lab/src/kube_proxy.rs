//! The rules that kube-proxy writes on a node in its iptables mode: the VIP of a service becomes the address of a pod
//! behind it. Chains have the names that a cluster gives them for services without a port name in namespace `default`.
//! Pure.
//!
//! After `syncProxyRules` in pkg/proxy/iptables/proxier.go of Kubernetes 1.30. Left out: what no lab has (node ports,
//! external addresses, health checks, the chains of filter), and `--random-fully` of MASQUERADE, which kube-proxy leaves out
//! as well where iptables does not know it: so a connection keeps its source port, by which its two ends are joined.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use data_encoding::BASE32;
use sha2::{Digest, Sha256};

use crate::{
    rules::{Family, Match, Matches, RuleSet, Table, Target},
    topology::{Service, Topology},
};

/// Mark of packets whose source becomes the node's (`masqueradeBit` 14).
const MASQUERADE_MARK: &str = "0x4000/0x4000";

/// A restore text per family.
pub fn texts(topology: &Topology) -> BTreeMap<Family, String> {
    let families = [Family::V4, Family::V6].into_iter();
    families.map(|it| (it, text(topology, it))).collect()
}

fn text(topology: &Topology, family: Family) -> String {
    let mut chains = String::from(
        "*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-SERVICES - [0:0]\n",
    );
    let mut rules = format!(
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
         -A KUBE-MARK-MASQ -j MARK --set-xmark {MASQUERADE_MARK}\n\
         -A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_MARK} -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
         -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE\n"
    );
    for service in &topology.services {
        of_service(topology, service, family, &mut chains, &mut rules);
    }
    format!("{chains}{rules}COMMIT\n")
}

fn of_service(
    topology: &Topology,
    service: &Service,
    family: Family,
    chains: &mut String,
    rules: &mut String,
) {
    let (pods, bits) = match family {
        Family::V4 => (topology.network.ipv4.to_string(), 32),
        Family::V6 => (topology.network.ipv6.to_string(), 128),
    };
    let (vip, port) = (service.vip.of(family), service.port);
    let name = format!("default/{}", service.name);
    let cluster_ip = format!("-m comment --comment \"{name} cluster IP\"");
    let endpoints = service.endpoints.iter();
    let endpoints: Vec<_> = endpoints.filter_map(|it| topology.pod(it)).collect();
    if endpoints.is_empty() {
        return;
    }
    let chain = service_chain(&service.name);
    let _ = writeln!(chains, ":{chain} - [0:0]");
    let to_vip = format!("-d {vip}/{bits} -p tcp {cluster_ip} -m tcp --dport {port}");
    let _ = writeln!(rules, "-A KUBE-SERVICES {to_vip} -j {chain}");
    let _ = writeln!(rules, "-A {chain} ! -s {pods} {to_vip} -j KUBE-MARK-MASQ");
    for (number, pod) in endpoints.iter().enumerate() {
        let ip = pod.addr.of(family);
        let at = SocketAddr::new(ip, port);
        let own = endpoint_chain(&service.name, &at.to_string());
        let comment = format!("-m comment --comment \"{name} -> {at}\"");
        let chance = chance(endpoints.len() - number);
        let _ = writeln!(rules, "-A {chain} {comment}{chance} -j {own}");
        let _ = writeln!(chains, ":{own} - [0:0]");
        let _ = writeln!(
            rules,
            "-A {own} -s {ip}/{bits} -m comment --comment \"{name}\" -j KUBE-MARK-MASQ\n\
             -A {own} -p tcp -m comment --comment \"{name}\" -m tcp -j DNAT --to-destination {at}"
        );
    }
}

/// How one of so many endpoints that are left is picked; the last one takes what is left.
fn chance(left: usize) -> String {
    /// The kernel counts chances in parts of this (`XT_STATISTIC_MODE_RANDOM`), and iptables-save prints those.
    const WHOLE: f64 = 2_147_483_648.0;
    if left == 1 {
        return String::new();
    }
    let parts = (WHOLE / left as f64).round();
    format!(
        " -m statistic --mode random --probability {:.11}",
        parts / WHOLE
    )
}

/// The rules as they are for a connection for which chance picked an endpoint: what matches by chance leads to this endpoint
/// always, and to no other. Places stay.
pub fn having_picked(rules: &RuleSet, endpoint: SocketAddr) -> RuleSet {
    let mut rules = rules.clone();
    let family = rules.family;
    let Some(nat) = rules.tables.get(&Table::Nat).cloned() else {
        return rules;
    };
    let leads_there = |chain: &str| {
        let mut of_chain = nat.chain(chain).into_iter().flat_map(|it| &it.rules);
        of_chain.any(|it| match &it.spec.target {
            Target::Dnat(to) => {
                let port = to.ports.is_none_or(|it| it.first() == endpoint.port());
                to.only_address() == Some(endpoint.ip()) && port
            }
            _ => false,
        })
    };
    let Some(own) = rules.tables.get_mut(&Table::Nat) else {
        return rules;
    };
    for chain in nat.chains() {
        let Some(chain) = own.chain_mut(&chain.name) else {
            continue;
        };
        for rule in &mut chain.rules {
            if rule.spec.matches.extensions().iter().any(is_by_chance) {
                let there = rule.spec.target.chain().is_some_and(leads_there);
                rule.spec.matches = settled(&rule.spec.matches, there, family);
            }
        }
    }
    rules
}

fn is_by_chance(condition: &Match) -> bool {
    matches!(condition, Match::Verbatim { module, .. } if module.as_deref() == Some("statistic"))
}

/// The same conditions without chance; or what nothing matches.
fn settled(matches: &Matches, holds: bool, family: Family) -> Matches {
    let mut settled = Matches::default();
    settled.protocol.clone_from(&matches.protocol);
    settled.source.clone_from(&matches.source);
    settled.destination.clone_from(&matches.destination);
    let rest = matches.extensions().iter();
    for condition in rest.filter(|it| !is_by_chance(it)) {
        settled.add(condition.clone());
    }
    if !holds {
        // The one condition that the model never lets hold.
        settled.add(Match::OtherFamily {
            family,
            words: "chance picked another endpoint".to_owned(),
        });
    }
    settled
}

/// The chain of a service.
pub fn service_chain(service: &str) -> String {
    format!("KUBE-SVC-{}", hash(&format!("default/{service}tcp")))
}

/// The chain of an endpoint, `ADDRESS:PORT`.
fn endpoint_chain(service: &str, at: &str) -> String {
    format!("KUBE-SEP-{}", hash(&format!("default/{service}tcp{at}")))
}

/// 16 characters, as `portProtoHash` has it.
fn hash(text: &str) -> String {
    let mut encoded = BASE32.encode(&Sha256::digest(text));
    encoded.truncate(16);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    /// Every cluster has this one: `default/kubernetes:https`.
    #[test]
    fn a_chain_has_the_name_that_a_cluster_gives_it() {
        assert_eq!(
            service_chain("kubernetes:https"),
            "KUBE-SVC-NPX46M4PTMTKRN6Y"
        );
    }

    /// As a cluster's `iptables-save` shows them.
    #[test]
    fn chances_are_those_that_the_kernel_keeps() {
        let shown = [4, 3, 2, 1].map(chance);
        let of = |it: &String| it.rsplit(' ').next().map(str::to_owned);
        let words: Vec<_> = shown.iter().filter_map(of).collect();
        assert_eq!(
            words,
            ["0.25000000000", "0.33333333349", "0.50000000000", ""]
        );
    }

    const LAB: &str = r#"
        name = "t"
        kube_proxy = true
        [rules]
        profile = "istio-1.13"
        [[service]]
        name = "shop"
        port = 80
        endpoints = ["one", "two"]
        [[pod]]
        name = "one"
        app = { port = 80 }
        [[pod]]
        name = "two"
        app = { port = 80 }
    "#;

    #[test]
    fn one_of_two_endpoints_is_taken_by_chance_and_the_other_takes_the_rest() {
        let topology = Topology::parse(LAB, "t.toml").expect("a lab");
        for (family, text) in texts(&topology) {
            let set = rules::parse(&text, family, "kube-proxy").expect("rules");
            let chain = service_chain("shop");
            let of_service: Vec<&str> = text
                .lines()
                .filter(|it| it.starts_with(&format!("-A {chain}")))
                .collect();
            assert_eq!(of_service.len(), 3, "{text}");
            assert!(of_service[1].contains("--probability 0.50000000000"));
            assert!(!of_service[2].contains("statistic"));
            assert_eq!(set.len(), 7 + 1 + 3 + 4);
        }
    }
}
