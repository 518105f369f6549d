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

/// Names of the labs in the binary.
pub const LABS: &[&str] = &["bookinfo"];

/// Text of a lab file.
pub fn lab_text(name: &str) -> Option<&'static str> {
    match name {
        "bookinfo" => Some(include_str!("../../scenarios/labs/bookinfo.toml")),
        _ => None,
    }
}
