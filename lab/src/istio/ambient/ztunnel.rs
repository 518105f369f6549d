//! The rules ztunnel's own tests install: what an ambient pod gets, and those of a ztunnel that serves one program.

use super::{Ambient, MASK, OUTBOUND_PORT, OUTPUT, ProbeSource, ZTUNNEL_MARK, pod};
use crate::{
    istio::emit::{Emission, Emitted},
    rules::Table::{Nat, Raw},
};

/// What ztunnel's tests call in-pod: an ambient pod's rules with DNS, but for the conntrack zones. IPv4.
pub fn in_pod() -> Vec<Emitted> {
    let config = Ambient {
        redirect_dns: true,
        ingress_mode: false,
        virtual_interfaces: Vec::new(),
        host_probe_snat: ProbeSource::default(),
        enable_ipv6: false,
    };
    let mut rules = pod(&config);
    rules.retain(|rule| rule.table != Raw);
    rules
}

/// What ztunnel's tests call dedicated: only what leaves the machine is captured, unless ztunnel sent it. Whatever
/// mangle PREROUTING and nat OUTPUT held before is flushed. IPv4.
pub fn dedicated() -> Vec<Emitted> {
    let mut out = Emission::new(false);
    let words = format!(
        "-p tcp ! -o lo -m mark ! --mark {ZTUNNEL_MARK:#x}/{MASK:#x} -j REDIRECT --to-ports {OUTBOUND_PORT}"
    );
    out.append(Nat, OUTPUT, &words);
    out.into_rules()
}
