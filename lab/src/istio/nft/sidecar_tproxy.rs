//! The sidecar's nftables rules for TPROXY.

use super::{
    ip,
    sidecar::{MANGLE, Sidecar},
};
use crate::istio::config::{OUTBOUND_MARK, passthrough_source};

impl Sidecar<'_> {
    pub(super) fn make_tproxy_chains(&mut self) {
        let config = self.config;
        let (mark, port) = (config.inbound_tproxy_mark, config.inbound_capture_port);
        self.out.append(
            MANGLE,
            "istio-divert",
            format!("counter meta mark set {mark}"),
        );
        self.out.append(MANGLE, "istio-divert", "counter accept");
        for &family in self.families {
            let (ip, loopback) = (ip(family), config.loopback(family));
            let words = format!(
                "meta l4proto tcp {ip} daddr != {loopback} tproxy {ip} to :{port} meta mark set {mark} counter accept"
            );
            self.out.append(MANGLE, "istio-tproxy", words);
        }
    }

    pub(super) fn mark_for_tproxy(&mut self) {
        const INBOUND: &str = "istio-inbound";
        let config = self.config;
        if !config.is_tproxy() {
            return;
        }
        let mark = config.inbound_tproxy_mark;
        let save = format!("meta l4proto tcp mark {mark} counter ct mark set mark");
        self.out.append(MANGLE, "prerouting", save);
        let marked = format!("oifname lo meta l4proto tcp mark {mark} counter return");
        self.out.append(MANGLE, "output", marked);
        for (key, owner) in self.proxy_owners() {
            for &family in self.families {
                let (ip, loopback) = (ip(family), config.loopback(family));
                let words = format!(
                    "oifname lo meta l4proto tcp {ip} daddr != {loopback} {key} {owner} counter meta mark set {OUTBOUND_MARK}"
                );
                self.out.append(MANGLE, "output", words);
            }
        }
        let restore = format!("meta l4proto tcp ct mark {mark} counter meta mark set ct mark");
        self.out.append(MANGLE, "output", restore);
        let own = format!("meta l4proto tcp mark {mark} counter return");
        self.out.insert(MANGLE, INBOUND, 0, own);
        for &family in self.families {
            let (ip, source) = (ip(family), passthrough_source(family));
            let words = format!("iifname lo meta l4proto tcp {ip} saddr {source} counter return");
            self.out.insert(MANGLE, INBOUND, 1, words);
        }
        let others = format!("iifname lo meta l4proto tcp mark != {OUTBOUND_MARK} counter return");
        self.out.insert(MANGLE, INBOUND, 2, others);
    }
}
