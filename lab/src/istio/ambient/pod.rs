//! iptables rules inside an ambient pod.

use super::{
    Ambient, CONNECTION_MARK, DNS_PORT, HBONE_PORT, INBOUND_PORT, ISTIO_OUTPUT, ISTIO_PRERT, MASK,
    OUTBOUND_PORT, OUTPUT, PREROUTING, ZTUNNEL_MARK, loopback,
};
use crate::{
    istio::emit::{Emission, Emitted},
    rules::Table::{Mangle, Nat, Raw},
};

/// The rules inside a pod, of every family it gets rules for.
pub fn pod(config: &Ambient) -> Vec<Emitted> {
    let mut out = Emission::new(config.enable_ipv6);
    keep_connections_marked(&mut out);
    out.append(Nat, OUTPUT, "-j ISTIO_OUTPUT");
    out.append(Nat, PREROUTING, "-j ISTIO_PRERT");
    for nic in &config.virtual_interfaces {
        let redirect = format!("-i {nic} -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}");
        out.append(Nat, ISTIO_PRERT, &redirect);
        out.append(Nat, ISTIO_PRERT, &format!("-i {nic} -p tcp -j RETURN"));
    }
    capture_inbound(config, &mut out);
    capture_outbound(config, &mut out);
    if config.redirect_dns {
        zones(&mut out);
    }
    out.into_rules()
}

fn not_ztunnel() -> String {
    format!("-m mark ! --mark {ZTUNNEL_MARK:#x}/{MASK:#x}")
}

/// What ztunnel sends marks its connection, and the replies get the mark back.
fn keep_connections_marked(out: &mut Emission) {
    out.append(Mangle, PREROUTING, "-j ISTIO_PRERT");
    out.append(Mangle, OUTPUT, "-j ISTIO_OUTPUT");
    let set = format!(
        "-m mark --mark {ZTUNNEL_MARK:#x}/{MASK:#x} -j CONNMARK --set-xmark {CONNECTION_MARK:#x}/{MASK:#x}"
    );
    out.append(Mangle, ISTIO_PRERT, &set);
    let restore = format!(
        "-m connmark --mark {CONNECTION_MARK:#x}/{MASK:#x} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"
    );
    out.append(Mangle, ISTIO_OUTPUT, &restore);
}

fn capture_inbound(config: &Ambient, out: &mut Emission) {
    let probes = config.host_probe_snat;
    if !config.ingress_mode {
        out.append_each(Nat, ISTIO_PRERT, |f| {
            format!("-s {} -p tcp -m tcp -j ACCEPT", probes.of(f))
        });
    }
    out.append_each(Nat, ISTIO_OUTPUT, |f| {
        format!("-d {} -p tcp -m tcp -j ACCEPT", probes.of(f))
    });
    if !config.ingress_mode {
        out.append_each(Nat, ISTIO_PRERT, |f| {
            let (lo, other) = (loopback(f), not_ztunnel());
            format!("! -d {lo} -p tcp ! --dport {HBONE_PORT} {other} -j REDIRECT --to-ports {INBOUND_PORT}")
        });
    }
}

fn capture_outbound(config: &Ambient, out: &mut Emission) {
    let other = not_ztunnel();
    if config.redirect_dns {
        let udp =
            format!("! -o lo -p udp {other} -m udp --dport 53 -j REDIRECT --to-port {DNS_PORT}");
        out.append(Nat, ISTIO_OUTPUT, &udp);
        out.append_each(Nat, ISTIO_OUTPUT, |f| {
            let lo = loopback(f);
            format!("! -d {lo} -p tcp --dport 53 {other} -j REDIRECT --to-ports {DNS_PORT}")
        });
    }
    let known = format!("-p tcp -m mark --mark {CONNECTION_MARK:#x}/{MASK:#x} -j ACCEPT");
    out.append(Nat, ISTIO_OUTPUT, &known);
    out.append_each(Nat, ISTIO_OUTPUT, |f| {
        format!("! -d {} -o lo -j ACCEPT", loopback(f))
    });
    out.append_each(Nat, ISTIO_OUTPUT, |f| {
        format!(
            "! -d {} -p tcp {other} -j REDIRECT --to-ports {OUTBOUND_PORT}",
            loopback(f)
        )
    });
}

/// ztunnel's own queries and their answers stay apart from the pod's.
fn zones(out: &mut Emission) {
    out.append(Raw, PREROUTING, "-j ISTIO_PRERT");
    out.append(Raw, OUTPUT, "-j ISTIO_OUTPUT");
    let query = format!(
        "-p udp -m mark --mark {ZTUNNEL_MARK:#x}/{MASK:#x} -m udp --dport 53 -j CT --zone 1"
    );
    out.append(Raw, ISTIO_OUTPUT, &query);
    let reply = format!("-p udp {} -m udp --sport 53 -j CT --zone 1", not_ztunnel());
    out.append(Raw, ISTIO_PRERT, &reply);
}
