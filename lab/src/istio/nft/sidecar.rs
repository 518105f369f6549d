//! The sidecar's nftables rules: tables, interfaces, inbound capture.

use super::transaction::{Layout, Rules, TableLayout};
use crate::{
    istio::config::{Config, InboundPorts},
    rules::Family,
};

pub(super) const NAT: &str = "istio-proxy-nat";
pub(super) const RAW: &str = "istio-proxy-raw";
pub(super) const MANGLE: &str = "istio-proxy-mangle";

/// Every table that a sidecar's rules can be in.
pub const SIDECAR_TABLES: [&str; 3] = [NAT, MANGLE, RAW];

const LAYOUT: Layout = &[
    TableLayout {
        name: NAT,
        chains: &[
            ("prerouting", Some("type nat hook prerouting priority -100")),
            ("output", Some("type nat hook output priority -100")),
            ("istio-inbound", None),
            ("istio-redirect", None),
            ("istio-in-redirect", None),
            ("istio-output", None),
            ("istio-output-dns", None),
        ],
    },
    TableLayout {
        name: MANGLE,
        chains: &[
            (
                "prerouting",
                Some("type filter hook prerouting priority -150"),
            ),
            ("output", Some("type route hook output priority -150")),
            ("istio-divert", None),
            ("istio-tproxy", None),
            ("istio-inbound", None),
            ("istio-drop", None),
        ],
    },
    TableLayout {
        name: RAW,
        chains: &[
            (
                "prerouting",
                Some("type filter hook prerouting priority -300"),
            ),
            ("output", Some("type filter hook output priority -300")),
            ("istio-inbound", None),
            ("istio-output-dns", None),
        ],
    },
];

/// The nftables rules of a sidecar, in the order Istio emits them, and the tables they are in.
pub fn sidecar(config: &Config) -> (Layout, Rules) {
    let families: &[Family] = if config.enable_ipv6 {
        &[Family::V4, Family::V6]
    } else {
        &[Family::V4]
    };
    let mut sidecar = Sidecar {
        config,
        families,
        out: Rules::default(),
    };
    sidecar.leave_interfaces_alone();
    sidecar.drop_invalid();
    sidecar.make_redirect_chains();
    sidecar.capture_inbound();
    sidecar.capture_outbound();
    sidecar.mark_for_tproxy();
    (LAYOUT, sidecar.out)
}

pub(super) struct Sidecar<'a> {
    pub(super) config: &'a Config,
    pub(super) families: &'static [Family],
    pub(super) out: Rules,
}

impl Sidecar<'_> {
    fn leave_interfaces_alone(&mut self) {
        let mangle = self.config.is_tproxy().then_some(MANGLE);
        for table in [NAT].into_iter().chain(mangle) {
            for nic in &self.config.exclude_interfaces {
                self.out
                    .append(table, "prerouting", format!("iifname {nic} counter return"));
                self.out
                    .append(table, "output", format!("oifname {nic} counter return"));
            }
        }
        for nic in &self.config.reroute_virtual_interfaces {
            self.out.insert(
                NAT,
                "prerouting",
                0,
                format!("iifname {nic} counter return"),
            );
        }
    }

    /// Unlike the iptables rule, this one is for TCP only.
    fn drop_invalid(&mut self) {
        if self.config.drop_invalid {
            let words = "meta l4proto tcp ct state invalid counter jump istio-drop";
            self.out.append(MANGLE, "prerouting", words);
            self.out.append(MANGLE, "istio-drop", "counter drop");
        }
    }

    fn make_redirect_chains(&mut self) {
        let config = self.config;
        let tunnel = config.inbound_tunnel_port;
        let words = format!("meta l4proto tcp tcp dport {tunnel} counter return");
        self.out.append(NAT, "istio-inbound", words);
        for (chain, port) in [
            ("istio-redirect", config.proxy_port),
            ("istio-in-redirect", config.inbound_capture_port),
        ] {
            let words = format!("meta l4proto tcp counter redirect to :{port}");
            self.out.append(NAT, chain, words);
        }
    }

    fn capture_inbound(&mut self) {
        let config = self.config;
        if config.inbound_ports == InboundPorts::Off {
            return;
        }
        let table = if config.is_tproxy() {
            self.make_tproxy_chains();
            MANGLE
        } else {
            NAT
        };
        self.out.append(
            table,
            "prerouting",
            "meta l4proto tcp counter jump istio-inbound",
        );
        match &config.inbound_ports {
            InboundPorts::Off => {}
            InboundPorts::AllBut(excluded) => {
                for port in excluded {
                    let words = format!("meta l4proto tcp tcp dport {port} counter return");
                    self.out.append(table, "istio-inbound", words);
                }
                self.hand_to_proxy("meta l4proto tcp");
            }
            InboundPorts::Only(ports) => {
                for port in ports {
                    self.hand_to_proxy(&format!("meta l4proto tcp tcp dport {port}"));
                }
            }
        }
    }

    fn hand_to_proxy(&mut self, matches: &str) {
        if !self.config.is_tproxy() {
            let words = format!("{matches} counter jump istio-in-redirect");
            self.out.append(NAT, "istio-inbound", words);
            return;
        }
        let known = format!("{matches} ct state related,established counter jump istio-divert");
        self.out.append(MANGLE, "istio-inbound", known);
        self.out.append(
            MANGLE,
            "istio-inbound",
            format!("{matches} counter jump istio-tproxy"),
        );
    }

    /// Who owns the proxy's sockets: users first, then groups.
    pub(super) fn proxy_owners(&self) -> Vec<(&'static str, String)> {
        let users = self
            .config
            .proxy_uid
            .iter()
            .map(|uid| ("skuid", uid.to_string()));
        let groups = self
            .config
            .proxy_gid
            .iter()
            .map(|gid| ("skgid", gid.to_string()));
        users.chain(groups).collect()
    }
}
