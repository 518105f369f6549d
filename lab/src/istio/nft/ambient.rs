//! The nftables rules of ambient mode.
//!
//! Order and meaning are those of the iptables rules; jumps carry no counter. The spelling of single rules is
//! reconstructed from descriptions: unlike the other sets, no sample of Istio's own text was at hand.

use super::{
    ip,
    transaction::{Layout, Rules, TableLayout},
};
use crate::{
    istio::ambient::{
        Ambient, CONNECTION_MARK, DNS_PORT, HBONE_PORT, INBOUND_PORT, MASK, OUTBOUND_PORT,
        ZTUNNEL_MARK, loopback, probe_set,
    },
    rules::Family,
};

const NAT: &str = "istio-ambient-nat";
const MANGLE: &str = "istio-ambient-mangle";
const RAW: &str = "istio-ambient-raw";
const PREROUTING: &str = "istio-prerouting";
const OUTPUT: &str = "istio-output";

const POD: Layout = &[
    TableLayout {
        name: NAT,
        chains: &[
            ("prerouting", Some("type nat hook prerouting priority -100")),
            ("output", Some("type nat hook output priority -100")),
            (PREROUTING, None),
            (OUTPUT, None),
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
            (PREROUTING, None),
            (OUTPUT, None),
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
            (PREROUTING, None),
            (OUTPUT, None),
        ],
    },
];

const HOST: Layout = &[TableLayout {
    name: NAT,
    chains: &[(
        "postrouting",
        Some("type nat hook postrouting priority 100"),
    )],
}];

fn families(config: &Ambient) -> &'static [Family] {
    if config.enable_ipv6 {
        &[Family::V4, Family::V6]
    } else {
        &[Family::V4]
    }
}

fn not_ztunnel() -> String {
    format!("meta mark & {MASK:#x}  != {ZTUNNEL_MARK:#x}")
}

/// The rules inside a pod, and the tables they are in.
pub fn ambient_pod(config: &Ambient) -> (Layout, Rules) {
    let mut out = Rules::default();
    keep_connections_marked(&mut out);
    out.append(NAT, "output", "jump istio-output");
    out.append(NAT, "prerouting", "jump istio-prerouting");
    for nic in &config.virtual_interfaces {
        let redirect =
            format!("iifname {nic} meta l4proto tcp counter redirect to :{OUTBOUND_PORT}");
        out.append(NAT, PREROUTING, redirect);
        out.append(
            NAT,
            PREROUTING,
            format!("iifname {nic} meta l4proto tcp counter return"),
        );
    }
    capture_inbound(config, &mut out);
    capture_outbound(config, &mut out);
    if config.redirect_dns {
        zones(&mut out);
    }
    (POD, out)
}

fn keep_connections_marked(out: &mut Rules) {
    out.append(MANGLE, "prerouting", "jump istio-prerouting");
    out.append(MANGLE, "output", "jump istio-output");
    let set = format!(
        "meta mark & {MASK:#x} == {ZTUNNEL_MARK:#x} counter ct mark set ct mark & {:#x} |  {CONNECTION_MARK:#x}",
        !MASK
    );
    out.append(MANGLE, PREROUTING, set);
    let restore =
        format!("ct mark & {MASK:#x} == {CONNECTION_MARK:#x} counter meta mark set ct mark");
    out.append(MANGLE, OUTPUT, restore);
}

fn capture_inbound(config: &Ambient, out: &mut Rules) {
    let each = families(config)
        .iter()
        .map(|&f| (ip(f), loopback(f), config.host_probe_snat.of(f)));
    for (ip, _, probes) in each.clone().filter(|_| !config.ingress_mode) {
        let words = format!("meta l4proto tcp {ip} saddr {probes} counter accept");
        out.append(NAT, PREROUTING, words);
    }
    for (ip, _, probes) in each.clone() {
        out.append(
            NAT,
            OUTPUT,
            format!("meta l4proto tcp {ip} daddr {probes} counter accept"),
        );
    }
    for (ip, lo, _) in each.filter(|_| !config.ingress_mode) {
        let other = not_ztunnel();
        let words = format!(
            "{ip} daddr != {lo} tcp dport != {HBONE_PORT} {other} counter redirect to :{INBOUND_PORT}"
        );
        out.append(NAT, PREROUTING, words);
    }
}

fn capture_outbound(config: &Ambient, out: &mut Rules) {
    let other = not_ztunnel();
    let each = families(config).iter().map(|&f| (ip(f), loopback(f)));
    if config.redirect_dns {
        let udp = format!("oifname != lo {other} udp dport 53 counter redirect to :{DNS_PORT}");
        out.append(NAT, OUTPUT, udp);
        for (ip, lo) in each.clone() {
            let words =
                format!("{ip} daddr != {lo} tcp dport 53 {other} counter redirect to :{DNS_PORT}");
            out.append(NAT, OUTPUT, words);
        }
    }
    let known =
        format!("meta l4proto tcp meta mark & {MASK:#x} == {CONNECTION_MARK:#x} counter accept");
    out.append(NAT, OUTPUT, known);
    for (ip, lo) in each.clone() {
        out.append(
            NAT,
            OUTPUT,
            format!("oifname lo {ip} daddr != {lo} counter accept"),
        );
    }
    for (ip, lo) in each {
        let words = format!(
            "meta l4proto tcp {ip} daddr != {lo} {other} counter redirect to :{OUTBOUND_PORT}"
        );
        out.append(NAT, OUTPUT, words);
    }
}

fn zones(out: &mut Rules) {
    out.append(RAW, "prerouting", "jump istio-prerouting");
    out.append(RAW, "output", "jump istio-output");
    let query =
        format!("meta mark & {MASK:#x} == {ZTUNNEL_MARK:#x} udp dport 53 counter ct zone set 1");
    out.append(RAW, OUTPUT, query);
    out.append(
        RAW,
        PREROUTING,
        format!("{} udp sport 53 counter ct zone set 1", not_ztunnel()),
    );
}

/// The rules on the host. They need the sets `istio-inpod-probes-v4` and `-v6` in their table. nft can't ask whether
/// a packet has a socket on the host, so Istio asks for kubelet's user.
pub fn ambient_host(config: &Ambient, kubelet_uid: u32) -> (Layout, Rules) {
    let mut out = Rules::default();
    for &family in families(config) {
        let (ip, set) = (ip(family), probe_set(family));
        let source = config.host_probe_snat.of(family);
        let words = format!(
            "meta l4proto tcp skuid {kubelet_uid} {ip} daddr @{set} counter snat {ip} to {source}"
        );
        out.append(NAT, "postrouting", words);
    }
    (HOST, out)
}
