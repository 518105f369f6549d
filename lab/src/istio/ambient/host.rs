//! The host's iptables rules of ambient mode: kubelet's probes get a source address pods know.

use super::{Ambient, probe_set};
use crate::{
    istio::{
        Release,
        emit::{Emission, Emitted},
    },
    rules::Table::Nat,
};

const POSTROUTING: &str = "POSTROUTING";
const ISTIO_POSTRT: &str = "ISTIO_POSTRT";

/// The rules on the host. They need the sets `istio-inpod-probes-v4` and `-v6`.
pub fn host(config: &Ambient, release: Release) -> Vec<Emitted> {
    let mut out = Emission::new(config.enable_ipv6);
    if release.inserts_host_jump() {
        out.insert_each(Nat, POSTROUTING, 1, |_| "-j ISTIO_POSTRT".to_owned());
    } else {
        out.append(Nat, POSTROUTING, "-j ISTIO_POSTRT");
    }
    out.append_each(Nat, ISTIO_POSTRT, |family| {
        let (set, source) = (probe_set(family), config.host_probe_snat.of(family));
        format!("-m owner --socket-exists -p tcp -m set --match-set {set} dst -j SNAT --to-source {source}")
    });
    out.into_rules()
}
