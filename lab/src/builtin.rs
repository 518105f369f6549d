//! Lab files and rule sets that travel inside the binary, so that an installed `hoplab` needs no folder beside it.

use crate::rules::Family;

/// Names of the rule sets in the binary.
pub const PROFILES: &[&str] = &["istio-1.13"];

/// Restore text of a rule profile, for `iptables-restore` or `ip6tables-restore`.
pub fn rule_text(profile: &str, family: Family) -> Option<&'static str> {
    match (profile, family) {
        ("istio-1.13", Family::V4) => Some(include_str!("../../scenarios/rules/istio-1.13.rules")),
        ("istio-1.13", Family::V6) => {
            Some(include_str!("../../scenarios/rules/istio-1.13.v6.rules"))
        }
        _ => None,
    }
}

/// What istio-init prints as its variables for a profile, in its order, but for ENABLE_INBOUND_IPV6, which the family
/// of the run decides.
pub fn variables(profile: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match profile {
        "istio-1.13" => Some(ISTIO_1_13),
        _ => None,
    }
}

/// Istio 1.13 with its defaults: all inbound ports but the excluded ones, all outbound ranges, REDIRECT.
const ISTIO_1_13: &[(&str, &str)] = &[
    ("PROXY_PORT", "15001"),
    ("PROXY_INBOUND_CAPTURE_PORT", "15006"),
    ("PROXY_TUNNEL_PORT", "15008"),
    ("PROXY_UID", "1337"),
    ("PROXY_GID", "1337"),
    ("INBOUND_INTERCEPTION_MODE", "REDIRECT"),
    ("INBOUND_TPROXY_MARK", "1337"),
    ("INBOUND_TPROXY_ROUTE_TABLE", "133"),
    ("INBOUND_PORTS_INCLUDE", "*"),
    ("INBOUND_PORTS_EXCLUDE", "15090,15021,15020"),
    ("OUTBOUND_IP_RANGES_INCLUDE", "*"),
    ("OUTBOUND_IP_RANGES_EXCLUDE", ""),
    ("OUTBOUND_PORTS_INCLUDE", ""),
    ("OUTBOUND_PORTS_EXCLUDE", ""),
    ("KUBE_VIRT_INTERFACES", ""),
    ("ENABLE_INBOUND_IPV6", "false"),
    ("DNS_CAPTURE", "false"),
    ("DROP_INVALID", "false"),
    ("CAPTURE_ALL_DNS", "false"),
    ("DNS_SERVERS", "[],[]"),
    ("OUTPUT_PATH", ""),
    ("NETWORK_NAMESPACE", ""),
    ("CNI_MODE", "false"),
    ("EXCLUDE_INTERFACES", ""),
];

/// Names of the labs in the binary.
pub const LABS: &[&str] = &["bookinfo"];

/// Golden paths of a lab over a family.
pub fn golden_text(name: &str, family: Family) -> Option<&'static str> {
    match (name, family) {
        ("bookinfo", Family::V4) => Some(include_str!("../../scenarios/paths/bookinfo.path")),
        ("bookinfo", Family::V6) => Some(include_str!("../../scenarios/paths/bookinfo.v6.path")),
        _ => None,
    }
}

/// Text of a lab file.
pub fn lab_text(name: &str) -> Option<&'static str> {
    match name {
        "bookinfo" => Some(include_str!("../../scenarios/labs/bookinfo.toml")),
        _ => None,
    }
}
