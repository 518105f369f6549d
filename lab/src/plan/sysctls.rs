//! Sysctls of the node and of pods.

/// What every namespace of a lab sets, and why: addresses usable at once (accept_dad), no reverse path surprises,
/// low ports free for anyone as in container runtimes.
pub(super) fn sysctls(more: &[(&str, &str)]) -> Vec<(String, String)> {
    const COMMON: &[(&str, &str)] = &[
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
    ];
    own(COMMON).into_iter().chain(own(more)).collect()
}

/// An unreachable address is told at once, every time.
pub(super) const UNREACHABLE: &[(&str, &str)] = &[
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
];

/// A node that sends a packet back to the bridge it came from says nothing of the shorter way. IPv6 says so from the
/// bridge's link-local address, and is silent where it has none (`ndisc_send_redirect` in net/ipv6/ndisc.c).
pub(super) const NO_REDIRECTS: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];

/// A packet meets the node's rules once, when the node routes it. Where Docker, say, has loaded br_netfilter, every new
/// namespace has the bridge ask them first, and a pod that calls itself is lost: its port is no hairpin.
pub(super) const NOT_ON_THE_BRIDGE: &[(&str, &str)] = &[
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
];

/// A machine that sends on what is not for it.
pub(super) const FORWARDING: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];

/// Off in a new namespace: entries with counters and times, and events (2, the default of late kernels, would do).
pub(super) const CONNTRACK_SYSCTLS: &[(&str, &str)] = &[
    ("net/netfilter/nf_conntrack_events", "1"),
    ("net/netfilter/nf_conntrack_acct", "1"),
    ("net/netfilter/nf_conntrack_timestamp", "1"),
];

pub(super) fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_string(), (*v).to_string()))
        .collect()
}
