//! The flags of `kumactl install transparent-proxy` that say something about the rules, and the settings that Kuma
//! takes by configuration file only.

use super::{Config, Families, config::Capture, vnet};
use crate::mesh::{Configuration, Flag, Subnet, Takes, Wrong, seconds, switch, whole_number};

const PORT: &str = "give a port from 1 to 65535";

fn port(values: &[&str]) -> Result<u16, Wrong> {
    match whole_number(values, PORT)? {
        0 => Err(Wrong::new("0", "nothing listens on port 0", PORT)),
        port => Ok(port),
    }
}

fn ports(values: &[&str]) -> Result<Vec<u16>, Wrong> {
    const FIX: &str = "give ports between commas, without ranges";
    let one = |text: &&str| whole_number(&[*text], FIX);
    values.iter().map(one).collect()
}

fn subnets(values: &[&str]) -> Result<Vec<Subnet>, Wrong> {
    values.iter().map(|text| text.parse()).collect()
}

fn families(values: &[&str]) -> Result<Families, Wrong> {
    match values.last().copied().unwrap_or_default() {
        "dualstack" => Ok(Families::DualStack),
        "ipv4" => Ok(Families::V4),
        other => Err(Wrong::new(
            other,
            "Kuma knows no such mode",
            "give dualstack or ipv4",
        )),
    }
}

const fn flag(
    name: &'static str,
    takes: Takes,
    set: fn(&mut Config, &[&str]) -> Result<(), Wrong>,
    help: &'static str,
) -> Flag<Config> {
    Flag {
        name,
        short: None,
        takes,
        help,
        key: None,
        set,
    }
}

/// A setting that has no flag in kumactl.
const fn keyed(key: &'static str, flag: Flag<Config>) -> Flag<Config> {
    Flag {
        key: Some(key),
        ..flag
    }
}

const SWITCH: Takes = Takes::Switch;
const LIST: Takes = Takes::List("PORTS");

fn inbound(config: &mut Config) -> &mut Capture {
    &mut config.inbound
}

fn outbound(config: &mut Config) -> &mut Capture {
    &mut config.outbound
}

impl Configuration for Config {
    const HEADING: &'static str = "Flags of kumactl install transparent-proxy";
    const FLAGS: &'static [Flag<Self>] = FLAGS;
}

const FLAGS: &[Flag<Config>] = &[
    flag(
        "kuma-dp-user",
        Takes::One("UID"),
        |c, v| whole_number(v, "give the user id of kuma-dp, like 5678").map(|it| c.uid = it),
        "User of kuma-dp, whose traffic is left alone; by number, names are not looked up [default: 5678]",
    ),
    flag(
        "ip-family-mode",
        Takes::One("MODE"),
        |c, v| families(v).map(|it| c.families = it),
        "dualstack, or ipv4 for no IPv6 rules [default: dualstack]",
    ),
    flag(
        "redirect-inbound",
        SWITCH,
        |c, v| switch(v).map(|it| inbound(c).enabled = it),
        "Capture what comes in; without it KUMA_MESH_INBOUND returns everything [default: true]",
    ),
    flag(
        "redirect-inbound-port",
        Takes::One("PORT"),
        |c, v| port(v).map(|it| inbound(c).port = it),
        "Port inbound traffic goes to [default: 15006]",
    ),
    flag(
        "redirect-outbound-port",
        Takes::One("PORT"),
        |c, v| port(v).map(|it| outbound(c).port = it),
        "Port outbound traffic goes to [default: 15001]",
    ),
    flag(
        "exclude-inbound-ports",
        LIST,
        |c, v| ports(v).map(|it| inbound(c).exclude_ports = it),
        "Inbound ports not to capture; no ranges",
    ),
    flag(
        "exclude-inbound-ips",
        Takes::List("ADDRESSES"),
        |c, v| subnets(v).map(|it| inbound(c).exclude_ips = it),
        "Sources not to capture, addresses or ranges; each family gets its own",
    ),
    flag(
        "exclude-outbound-ports",
        LIST,
        |c, v| ports(v).map(|it| outbound(c).exclude_ports = it),
        "Destination ports not to capture, whoever calls; no ranges",
    ),
    flag(
        "exclude-outbound-ips",
        Takes::List("ADDRESSES"),
        |c, v| subnets(v).map(|it| outbound(c).exclude_ips = it),
        "Destinations not to capture, for all protocols and users; each family gets its own",
    ),
    flag(
        "exclude-outbound-ports-for-uids",
        Takes::Each("[PROTOCOLS:][PORTS:]UIDS"),
        |c, v| {
            let all: Result<_, Wrong> = v.iter().map(|text| text.parse()).collect();
            all.map(|it| c.exclude_outbound_ports_for_uids = it)
        },
        "Ports not to capture for a user or a range of users, like tcp:53,3000-5000:106-108; without protocols both, \
         without ports all (repeatable)",
    ),
    flag(
        "redirect-dns",
        SWITCH,
        |c, v| switch(v).map(|it| c.redirect_dns = it),
        "Capture DNS over UDP to the servers of resolv.conf; a family without a server gets no DNS rule",
    ),
    flag(
        "redirect-all-dns-traffic",
        SWITCH,
        |c, v| switch(v).map(|it| c.redirect_all_dns = it),
        "Capture DNS over UDP to any server",
    ),
    flag(
        "redirect-dns-port",
        Takes::One("PORT"),
        |c, v| port(v).map(|it| c.dns_port = it),
        "Port DNS goes to [default: 15053]",
    ),
    flag(
        "skip-dns-conntrack-zone-split",
        SWITCH,
        |c, v| switch(v).map(|it| c.dns_zones = !it),
        "Leave the proxy's DNS in the same conntrack zone as the pod's: no raw rules",
    ),
    flag(
        "vnet",
        Takes::Each("INTERFACE:CIDR"),
        |c, v| vnet::all(v).map(|it| c.vnet = it),
        "Treat what comes in by an interface as outbound, like docker0:172.17.0.0/16 or br+:172.18.0.0/16 (repeatable)",
    ),
    flag(
        "drop-invalid-packets",
        SWITCH,
        |c, v| switch(v).map(|it| c.drop_invalid = it),
        "Drop packets conntrack calls invalid",
    ),
    flag(
        "iptables-logs",
        SWITCH,
        |c, v| switch(v).map(|it| c.log = it),
        "Log every new connection of OUTPUT first, of PREROUTING last, at level 7",
    ),
    flag(
        "wait",
        Takes::One("SECONDS"),
        |c, v| seconds(v).map(|it| c.waiting.wait = it),
        "How long legacy iptables waits for its lock; changes no rule [default: 5]",
    ),
    flag(
        "wait-interval",
        Takes::One("MICROSECONDS"),
        |c, v| whole_number(v, "give microseconds").map(|it| c.waiting.wait_interval = it),
        "How often it looks; changes no rule [default: left to iptables]",
    ),
    flag(
        "max-retries",
        Takes::One("N"),
        |c, v| whole_number(v, "give a number").map(|it| c.waiting.max_retries = it),
        "Tries after the first; changes no rule [default: 4]",
    ),
    flag(
        "sleep-between-retries",
        Takes::One("SECONDS"),
        |c, v| seconds(v).map(|it| c.waiting.sleep_between_retries = it),
        "Time between tries; changes no rule [default: 2s]",
    ),
    keyed(
        "redirect.outbound.enabled",
        flag(
            "redirect-outbound",
            SWITCH,
            |c, v| switch(v).map(|it| outbound(c).enabled = it),
            "Capture what the pod opens; without it KUMA_MESH_OUTBOUND returns everything [default: true]",
        ),
    ),
    keyed(
        "redirect.inbound.includePorts",
        flag(
            "include-inbound-ports",
            LIST,
            |c, v| ports(v).map(|it| inbound(c).include_ports = it),
            "Capture these inbound ports only; exclude-inbound-ports is ignored then",
        ),
    ),
    keyed(
        "redirect.outbound.includePorts",
        flag(
            "include-outbound-ports",
            LIST,
            |c, v| ports(v).map(|it| outbound(c).include_ports = it),
            "Capture these destination ports only; all else falls off the end of the chain",
        ),
    ),
    keyed(
        "redirect.inbound.insertRedirectInsteadOfAppend",
        flag(
            "insert-inbound-redirect",
            SWITCH,
            |c, v| switch(v).map(|it| inbound(c).insert = it),
            "Insert the jump of PREROUTING ahead of what is there",
        ),
    ),
    keyed(
        "redirect.outbound.insertRedirectInsteadOfAppend",
        flag(
            "insert-outbound-redirect",
            SWITCH,
            |c, v| switch(v).map(|it| outbound(c).insert = it),
            "Insert the jump of OUTPUT ahead of what is there; DNS over TCP is captured then",
        ),
    ),
];
