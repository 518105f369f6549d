//! Files of /etc that pods have.

use std::fmt::Write as _;

use crate::{
    rules::OwnerNames,
    topology::{Dns, Topology, service_names},
};

pub(super) fn hosts(topology: &Topology) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for service in &topology.services {
        for addr in [service.vip.v4.to_string(), service.vip.v6.to_string()] {
            let names: Vec<String> = service_names(&service.name).collect();
            let _ = writeln!(text, "{addr} {}", names.join(" "));
        }
    }
    for service in &topology.headless {
        let names: Vec<String> = service_names(&service.name).collect();
        for addr in topology.addresses_of(service) {
            let _ = writeln!(text, "{} {}", addr.v4, names.join(" "));
            let _ = writeln!(text, "{} {}", addr.v6, names.join(" "));
        }
    }
    for pod in &topology.pods {
        let _ = writeln!(text, "{} {}", pod.addr.v4, pod.name);
        let _ = writeln!(text, "{} {}", pod.addr.v6, pod.name);
    }
    text
}

/// As kubelet writes it for a pod of namespace `default`.
pub(super) fn resolv_conf(dns: &Dns) -> String {
    format!(
        "search default.svc.cluster.local svc.cluster.local cluster.local\n\
         nameserver {}\nnameserver {}\noptions ndots:5\n",
        dns.addr.v4, dns.addr.v6
    )
}

/// None where no rule names a user. The names that every process of a lab has come first.
pub(super) fn passwd(names: &OwnerNames) -> Option<String> {
    let own = |(name, id): (&String, &u32)| format!("{name}:x:{id}:{id}::/:/usr/sbin/nologin\n");
    let more: String = names.users.iter().map(own).collect();
    (!more.is_empty()).then(|| {
        format!("root:x:0:0:root:/:/bin/sh\nistio-proxy:x:1337:1337::/:/usr/sbin/nologin\n{more}")
    })
}

/// None where no rule names a group.
pub(super) fn group(names: &OwnerNames) -> Option<String> {
    let more: String = names
        .groups
        .iter()
        .map(|(name, id)| format!("{name}:x:{id}:\n"))
        .collect();
    (!more.is_empty()).then(|| format!("root:x:0:\nistio-proxy:x:1337:\n{more}"))
}
