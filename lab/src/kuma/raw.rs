//! The raw table: conntrack zones that keep the proxy's DNS queries apart from the pod's.
//!
//! Both may use one source port at once; in one zone the second query would take the first one's entry.

use super::{Config, config::loopback, emission::Emission, resolved::Dns};
use crate::{mesh::Subnet, rules::Table::Raw};

pub(super) fn zones(config: &Config, dns: &Dns, out: &mut Emission) {
    let uid = config.uid;
    let each = |option: &str| -> Vec<String> {
        let servers = dns.servers.as_deref();
        let some =
            |servers: &[Subnet]| servers.iter().map(|it| format!("{option} {it} ")).collect();
        servers.map_or_else(|| vec![String::new()], some)
    };
    for server in each("-s") {
        out.append(
            Raw,
            "PREROUTING",
            format!("{server}-p udp --sport 53 -j CT --zone 1"),
        );
    }
    let own = format!("-m owner --uid-owner {uid}");
    out.append(
        Raw,
        "OUTPUT",
        format!("-p udp --dport 53 {own} -j CT --zone 1"),
    );
    out.append(
        Raw,
        "OUTPUT",
        format!("-p udp --sport {} {own} -j CT --zone 2", config.dns_port),
    );
    for server in each("-d") {
        out.append(
            Raw,
            "OUTPUT",
            format!("{server}-p udp --dport 53 -j CT --zone 2"),
        );
    }
    // Docker's resolver answers from a port of its own choice: an answer is known by its address alone (#11684).
    let lo = loopback(out.family);
    for server in dns.servers.iter().flatten().filter(|it| it.is_loopback()) {
        out.append(
            Raw,
            "OUTPUT",
            format!("-s {server} -d {lo} -p udp -j CT --zone 1"),
        );
    }
}
