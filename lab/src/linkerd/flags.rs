//! The flags of `linkerd-proxy-init`. Defaults are those Linkerd's chart gives.

use super::{Config, Mode, ports::PortSpan};
use crate::mesh::{Configuration, Flag, Takes, Wrong, switch, whole_number};

const PORT: &str = "give a port from 1 to 65535";

fn port(text: &str) -> Result<u16, Wrong> {
    match whole_number(&[text], PORT)? {
        0 => Err(Wrong::new(text, "nothing listens on port 0", PORT)),
        port => Ok(port),
    }
}

fn last<'a>(values: &[&'a str]) -> &'a str {
    values.last().copied().unwrap_or_default()
}

fn owner(values: &[&str]) -> Result<u32, Wrong> {
    const FIX: &str = "give an id from 1";
    match whole_number(values, FIX)? {
        0 => Err(Wrong::new(
            last(values),
            "what proxy-init writes for root is not known here",
            FIX,
        )),
        id => Ok(id),
    }
}

/// Ports as proxy-init reads them: what is none is dropped.
fn spans(config: &mut Config, flag: &'static str, values: &[&str]) -> Vec<PortSpan> {
    config.dropped.retain(|(other, _)| *other != flag);
    let mut spans = Vec::new();
    for item in values {
        match PortSpan::read(item) {
            Some(span) => spans.push(span),
            None => config.dropped.push((flag, (*item).to_owned())),
        }
    }
    spans
}

fn mode(values: &[&str]) -> Result<Mode, Wrong> {
    match last(values) {
        "legacy" => Ok(Mode::Legacy),
        "nft" => Ok(Mode::Nft),
        "plain" => Ok(Mode::Plain),
        other => Err(Wrong::new(
            other,
            "proxy-init knows no such mode",
            "give legacy, nft or plain",
        )),
    }
}

fn path(values: &[&str]) -> Result<String, Wrong> {
    let text = last(values);
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.contains(odd) {
        return Err(Wrong::new(
            text,
            "it is no path of a namespace",
            "give a path like /proc/1234/ns/net",
        ));
    }
    Ok(text.to_owned())
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

const fn short(short: char, flag: Flag<Config>) -> Flag<Config> {
    Flag {
        short: Some(short),
        ..flag
    }
}

const INBOUND_PORTS_TO_IGNORE: &str = "inbound-ports-to-ignore";
const OUTBOUND_PORTS_TO_IGNORE: &str = "outbound-ports-to-ignore";

impl Configuration for Config {
    const HEADING: &'static str = "Flags of linkerd-proxy-init";
    const FLAGS: &'static [Flag<Self>] = FLAGS;
}

const FLAGS: &[Flag<Config>] = &[
    short(
        'p',
        flag(
            "incoming-proxy-port",
            Takes::One("PORT"),
            |c, v| port(last(v)).map(|it| c.incoming_proxy_port = it),
            "Port inbound traffic goes to [default: 4143]",
        ),
    ),
    short(
        'o',
        flag(
            "outgoing-proxy-port",
            Takes::One("PORT"),
            |c, v| port(last(v)).map(|it| c.outgoing_proxy_port = it),
            "Port outbound traffic goes to [default: 4140]",
        ),
    ),
    short(
        'u',
        flag(
            "proxy-uid",
            Takes::One("UID"),
            |c, v| owner(v).map(|it| c.proxy_uid = it),
            "User of the proxy, whose traffic is left alone [default: 2102]",
        ),
    ),
    flag(
        "proxy-gid",
        Takes::One("GID"),
        |c, v| owner(v).map(|it| c.proxy_gid = Some(it)),
        "Group of the proxy, left alone too; no rule without it",
    ),
    short(
        'r',
        flag(
            "ports-to-redirect",
            Takes::List("PORTS"),
            |c, v| {
                let ports: Result<_, Wrong> = v.iter().map(|it| port(it)).collect();
                ports.map(|it| c.ports_to_redirect = it)
            },
            "Inbound ports to capture, instead of all; ignored ports and subnets still come first",
        ),
    ),
    flag(
        INBOUND_PORTS_TO_IGNORE,
        Takes::List("PORTS"),
        |c, v| {
            c.inbound_ports_to_ignore = spans(c, INBOUND_PORTS_TO_IGNORE, v);
            Ok(())
        },
        "Inbound ports not to capture, ranges like 80-90; a rule for 15 of them [default: 4190,4191,4567,4568]",
    ),
    flag(
        OUTBOUND_PORTS_TO_IGNORE,
        Takes::List("PORTS"),
        |c, v| {
            c.outbound_ports_to_ignore = spans(c, OUTBOUND_PORTS_TO_IGNORE, v);
            Ok(())
        },
        "Destination ports not to capture, ranges like 80-90; a rule for 15 of them [default: 4567,4568]",
    ),
    flag(
        "subnets-to-ignore",
        Takes::List("CIDRS"),
        |c, v| {
            let subnets: Result<_, Wrong> = v
                .iter()
                .map(|it| crate::mesh::Subnet::with_prefix(it))
                .collect();
            subnets.map(|it| c.subnets_to_ignore = it)
        },
        "Sources not to capture; inbound only, and both families get the same list",
    ),
    flag(
        "ipv6",
        Takes::Switch,
        |c, v| switch(v).map(|it| c.ipv6 = it),
        "The same rules for IPv6, after those for IPv4 [default: true]",
    ),
    flag(
        "iptables-mode",
        Takes::One("MODE"),
        |c, v| mode(v).map(|it| c.mode = it),
        "legacy, nft or plain; changes the commands, no rule [default: legacy]",
    ),
    short(
        'w',
        flag(
            "use-wait-flag",
            Takes::Switch,
            |c, v| switch(v).map(|it| c.use_wait_flag = it),
            "Let every command wait for the lock; changes no rule",
        ),
    ),
    flag(
        "netns",
        Takes::One("PATH"),
        |c, v| path(v).map(|it| c.netns = Some(it)),
        "Run every command in this network namespace; changes no rule",
    ),
    flag(
        "timeout-close-wait-secs",
        Takes::One("SECONDS"),
        |c, v| {
            let seconds = whole_number(v, "give seconds; 0 leaves the kernel's own")?;
            c.timeout_close_wait_secs = Some(seconds).filter(|seconds| *seconds > 0);
            Ok(())
        },
        "How long conntrack keeps a connection that waits to be closed; changes no rule",
    ),
];
