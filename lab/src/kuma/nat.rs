//! The nat table: built-in chains first, then Kuma's own four.

use super::{
    Config,
    config::{loopback, passthrough_source},
    emission::Emission,
    resolved::Dns,
};
use crate::rules::Table::Nat;

pub(super) const INBOUND: &str = "KUMA_MESH_INBOUND";
pub(super) const OUTBOUND: &str = "KUMA_MESH_OUTBOUND";
pub(super) const INBOUND_REDIRECT: &str = "KUMA_MESH_INBOUND_REDIRECT";
pub(super) const OUTBOUND_REDIRECT: &str = "KUMA_MESH_OUTBOUND_REDIRECT";

pub(super) fn rules(config: &Config, dns: Option<&Dns>, out: &mut Emission) {
    prerouting(config, out);
    output(config, dns, out);
    inbound(config, out);
    outbound(config, out);
    for (chain, capture) in [
        (INBOUND_REDIRECT, &config.inbound),
        (OUTBOUND_REDIRECT, &config.outbound),
    ] {
        out.append(
            Nat,
            chain,
            format!("-p tcp -j REDIRECT --to-ports {}", capture.port),
        );
    }
}

fn prerouting(config: &Config, out: &mut Emission) {
    const PREROUTING: &str = "PREROUTING";
    if config.log {
        out.append(
            Nat,
            PREROUTING,
            "-j LOG --log-prefix PREROUTING: --log-level 7",
        );
    }
    let of_family = |vnet: &&super::Vnet| vnet.network.family() == out.family;
    let mut vnets: Vec<_> = config.vnet.iter().filter(of_family).collect();
    vnets.sort_by(|a, b| a.interface.cmp(&b.interface));
    for vnet in &vnets {
        let (nic, network) = (&vnet.interface, &vnet.network);
        let (dns, tcp) = (config.dns_port, config.outbound.port);
        out.insert(
            Nat,
            PREROUTING,
            format!("-i {nic} -m udp -p udp --dport 53 -j REDIRECT --to-ports {dns}"),
        );
        out.insert(
            Nat,
            PREROUTING,
            format!("! -d {network} -i {nic} -p tcp -j REDIRECT --to-ports {tcp}"),
        );
    }
    // With networks the jump is always inserted, behind their rules and ahead of what the chain held before.
    jump(
        PREROUTING,
        INBOUND,
        config.inbound.insert || !vnets.is_empty(),
        out,
    );
}

fn output(config: &Config, dns: Option<&Dns>, out: &mut Emission) {
    const OUTPUT: &str = "OUTPUT";
    if config.log {
        out.insert(Nat, OUTPUT, "-j LOG --log-prefix OUTPUT: --log-level 7");
    }
    for exclusion in &config.exclude_outbound_ports_for_uids {
        for protocol in &exclusion.protocols {
            let (ports, uids) = (&exclusion.ports, &exclusion.uids);
            out.insert(
                Nat,
                OUTPUT,
                format!("-m multiport -p {protocol} --dport {ports} -m owner --uid-owner {uids} -j RETURN"),
            );
        }
    }
    for range in config.outbound.exclude_ips.iter() {
        if range.family() == out.family {
            out.insert(Nat, OUTPUT, format!("-d {range} -j RETURN"));
        }
    }
    if let Some(dns) = dns {
        capture_dns(config, dns, out);
    }
    jump(OUTPUT, OUTBOUND, config.outbound.insert, out);
}

fn capture_dns(config: &Config, dns: &Dns, out: &mut Emission) {
    const OUTPUT: &str = "OUTPUT";
    let (uid, port) = (config.uid, config.dns_port);
    let to = if dns.docker {
        "DOCKER_OUTPUT"
    } else {
        "RETURN"
    };
    out.insert(
        Nat,
        OUTPUT,
        format!("-p udp --dport 53 -m owner --uid-owner {uid} -j {to}"),
    );
    let capture = format!("-p udp --dport 53 -j REDIRECT --to-ports {port}");
    match &dns.servers {
        None => out.insert(Nat, OUTPUT, capture),
        Some(servers) => {
            for server in servers {
                out.insert(Nat, OUTPUT, format!("-d {server} {capture}"));
            }
        }
    }
    out.append(
        Nat,
        OUTPUT,
        format!("-p tcp --dport 53 -m owner ! --uid-owner {uid} -j RETURN"),
    );
}

fn jump(from: &'static str, to: &str, insert: bool, out: &mut Emission) {
    let words = format!("-p tcp -j {to}");
    if insert {
        out.insert(Nat, from, words);
    } else {
        out.append(Nat, from, words);
    }
}

fn inbound(config: &Config, out: &mut Emission) {
    let capture = &config.inbound;
    if !capture.enabled {
        return out.append(Nat, INBOUND, "-p tcp -j RETURN");
    }
    for range in &capture.exclude_ips {
        if range.family() == out.family {
            out.append(Nat, INBOUND, format!("-s {range} -j RETURN"));
        }
    }
    if !capture.include_ports.is_empty() {
        return to_ports(INBOUND, &capture.include_ports, INBOUND_REDIRECT, out);
    }
    to_ports(INBOUND, &capture.exclude_ports, "RETURN", out);
    out.append(Nat, INBOUND, format!("-p tcp -j {INBOUND_REDIRECT}"));
}

fn outbound(config: &Config, out: &mut Emission) {
    let capture = &config.outbound;
    if !capture.enabled {
        return out.append(Nat, OUTBOUND, "-p tcp -j RETURN");
    }
    let (uid, family) = (config.uid, out.family);
    let (passthrough, lo) = (passthrough_source(family), loopback(family));
    to_ports(OUTBOUND, &capture.exclude_ports, "RETURN", out);
    for words in [
        format!("-s {passthrough} -o lo -j RETURN"),
        format!("-p tcp -o lo ! -d {lo} -m owner --uid-owner {uid} -j {INBOUND_REDIRECT}"),
        format!("-p tcp -o lo -m owner ! --uid-owner {uid} -j RETURN"),
        format!("-m owner --uid-owner {uid} -j RETURN"),
        format!("-d {lo} -j RETURN"),
    ] {
        out.append(Nat, OUTBOUND, words);
    }
    if capture.include_ports.is_empty() {
        out.append(Nat, OUTBOUND, format!("-j {OUTBOUND_REDIRECT}"));
    }
    to_ports(OUTBOUND, &capture.include_ports, OUTBOUND_REDIRECT, out);
}

fn to_ports(chain: &'static str, ports: &[u16], target: &str, out: &mut Emission) {
    for port in ports {
        out.append(Nat, chain, format!("-p tcp --dport {port} -j {target}"));
    }
}
