//! The table of flags.

use super::{Flag, Slot, Source};
use crate::istio::Settings;

const fn text(
    name: &'static str,
    short: Option<char>,
    field: fn(&mut Settings) -> &mut String,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short,
        help,
        source: Source::Named,
        slot: Slot::Text(field),
    }
}

const fn switch(
    name: &'static str,
    field: fn(&mut Settings) -> &mut bool,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short: None,
        help,
        source: Source::Named,
        slot: Slot::Switch(field),
    }
}

impl Flag {
    const fn without_variable(mut self) -> Self {
        self.source = Source::FlagOnly;
        self
    }

    const fn and(mut self, variable: &'static str) -> Self {
        self.source = Source::NamedAnd(variable);
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
}

/// Every flag, in the order Istio lists them.
pub const FLAGS: &[Flag] = &[
    text(
        "envoy-port",
        Some('p'),
        |s| &mut s.proxy_port,
        "Port outbound traffic goes to [default: 15001]",
    )
    .without_variable(),
    text(
        "inbound-capture-port",
        Some('z'),
        |s| &mut s.inbound_capture_port,
        "Port inbound traffic goes to [default: 15006]",
    ),
    text(
        "inbound-tunnel-port",
        Some('e'),
        |s| &mut s.inbound_tunnel_port,
        "Port for tunnelled traffic, never captured in REDIRECT mode [default: 15008]",
    ),
    text(
        "proxy-uid",
        Some('u'),
        |s| &mut s.proxy_uid,
        "Users of the proxy [default: the uid of $ENVOY_USER, else 1337]",
    ),
    text(
        "proxy-gid",
        Some('g'),
        |s| &mut s.proxy_gid,
        "Groups of the proxy [default: as proxy-uid]",
    ),
    text(
        "istio-inbound-interception-mode",
        Some('m'),
        |s| &mut s.inbound_interception_mode,
        "TPROXY; any other text means REDIRECT",
    ),
    text(
        "istio-inbound-tproxy-mark",
        Some('t'),
        |s| &mut s.inbound_tproxy_mark,
        "Mark of packets for the proxy in TPROXY mode [default: 1337]",
    ),
    text(
        "istio-inbound-tproxy-route-table",
        Some('r'),
        |s| &mut s.inbound_tproxy_route_table,
        "Routing table of TPROXY mode [default: 133]",
    ),
    text(
        "istio-inbound-ports",
        Some('b'),
        |s| &mut s.inbound_ports_include,
        "Inbound ports to capture, or *",
    ),
    text(
        "istio-local-exclude-ports",
        Some('d'),
        |s| &mut s.inbound_ports_exclude,
        "Inbound ports not to capture, with istio-inbound-ports *",
    ),
    text(
        "istio-exclude-interfaces",
        Some('c'),
        |s| &mut s.exclude_interfaces,
        "Interfaces whose traffic is not captured",
    ),
    text(
        "istio-service-cidr",
        Some('i'),
        |s| &mut s.outbound_ip_ranges_include,
        "Destinations to capture, or *",
    ),
    text(
        "istio-service-exclude-cidr",
        Some('x'),
        |s| &mut s.outbound_ip_ranges_exclude,
        "Destinations not to capture",
    ),
    text(
        "istio-outbound-ports",
        Some('q'),
        |s| &mut s.outbound_ports_include,
        "Destination ports to capture whatever the address",
    ),
    text(
        "istio-local-outbound-ports-exclude",
        Some('o'),
        |s| &mut s.outbound_ports_exclude,
        "Destination ports not to capture",
    ),
    text(
        "kube-virt-interfaces",
        Some('k'),
        |s| &mut s.reroute_virtual_interfaces,
        "Virtual interfaces whose inbound traffic counts as outbound",
    ),
    switch("redirect-dns", |s| &mut s.redirect_dns, "Capture DNS").and("ISTIO_META_DNS_CAPTURE"),
    switch(
        "capture-all-dns",
        |s| &mut s.capture_all_dns,
        "Capture DNS to any server, with redirect-dns",
    ),
    switch(
        "drop-invalid",
        |s| &mut s.drop_invalid,
        "Drop packets conntrack calls invalid",
    )
    .and("INVALID_DROP"),
    switch(
        "dual-stack",
        |s| &mut s.dual_stack,
        "Look for an IPv6 address behind an IPv4 one; see --ipv6",
    )
    .and("ISTIO_DUAL_STACK"),
    text(
        "network-namespace",
        None,
        |s| &mut s.network_namespace,
        "Accepted, changes no rule",
    ),
    switch("cni-mode", |s| &mut s.cni_mode, "Accepted, changes no rule"),
    switch(
        "reconcile",
        |s| &mut s.reconcile,
        "Accepted, changes no rule",
    ),
    switch(
        "cleanup-only",
        |s| &mut s.cleanup_only,
        "Accepted, changes no rule",
    ),
    switch(
        "force-apply",
        |s| &mut s.force_apply,
        "Accepted, changes no rule",
    ),
    switch(
        "skip-rule-apply",
        |s| &mut s.skip_rule_apply,
        "Accepted, changes no rule",
    ),
    switch(
        "run-validation",
        |s| &mut s.run_validation,
        "Accepted, changes no rule",
    ),
    Flag {
        name: "iptables-probe-port",
        short: None,
        help: "Accepted, changes no rule",
        source: Source::Named,
        slot: Slot::Port(|s| &mut s.iptables_probe_port),
    },
    Flag {
        name: "probe-timeout",
        short: None,
        help: "Accepted, changes no rule",
        source: Source::Named,
        slot: Slot::Time(|s| &mut s.probe_timeout),
    },
    switch("dry-run", |s| &mut s.dry_run, "Accepted, changes no rule").short('n'),
    switch(
        "native-nftables",
        |s| &mut s.native_nftables,
        "Write the nft transaction, not iptables rules",
    ),
    text(
        "force-iptables-binary",
        None,
        |s| &mut s.force_iptables_binary,
        "Accepted, changes no rule: nft or legacy",
    ),
];
