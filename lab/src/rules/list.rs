//! A table as `iptables -L -v -n` lists it, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address_kind::End;
use super::id::{Family, Table};
use super::matches::{Match, RuleSpec};
use super::render::{kind_names, port_names, state_names};
use super::rounded::Rounded;
use super::set::{Chain, Counter, RuleSet, TableRules};
use super::target::Target;
use super::values::{CtState, Interface, Negatable, PortRange};

mod target;

/// Lists a table with its counters, in the columns of `iptables -L -v -n`, with protocol names as iptables before
/// 1.8.9 prints them and without trailing blanks. Empty when the rule set lacks the table.
pub fn list_verbose(rules: &RuleSet, table: Table) -> String {
    let Some(table) = rules.tables.get(&table) else {
        return String::new();
    };
    let mut text = String::new();
    for chain in table.chains() {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", header(table, chain));
        text.push_str(
            " pkts bytes target     prot opt in     out     source               destination\n",
        );
        for rule in &chain.rules {
            let figures = figures(rule.counters, rule.rounded);
            let line = row(rules.family, &rule.spec, &figures);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

fn header(table: &TableRules, chain: &Chain) -> String {
    match chain.policy {
        None => format!(
            "Chain {} ({} references)",
            chain.name,
            table.references(&chain.name)
        ),
        Some(policy) => {
            let [packets, bytes] = figures(chain.policy_counters, chain.policy_rounded);
            format!(
                "Chain {} (policy {policy} {packets} packets, {bytes} bytes)",
                chain.name
            )
        }
    }
}

/// Packets and bytes in their columns. What a listing rounded is what it was there: all numbers of its range are
/// shortened to it.
fn figures(exact: Option<Counter>, rounded: Option<Rounded>) -> [String; 2] {
    match rounded {
        Some(Rounded { packets, bytes }) => [short(packets.least), short(bytes.least)],
        None => {
            let Counter { packets, bytes } = exact.unwrap_or_default();
            [short(packets), short(bytes)]
        }
    }
}

/// A number as `xtables_print_num` shortens it: whole up to 99999, then in thousands up to 9999K, and so on.
fn short(number: u64) -> String {
    if number <= 99_999 {
        return number.to_string();
    }
    let mut rest = number.saturating_add(500) / 1000;
    for unit in ["K", "M", "G"] {
        if rest <= 9_999 {
            return format!("{rest}{unit}");
        }
        rest = (rest + 500) / 1000;
    }
    format!("{rest}T")
}

fn row(family: Family, spec: &RuleSpec, [packets, bytes]: &[String; 2]) -> String {
    let matches = &spec.matches;
    let (inverted, protocol) = match &matches.protocol {
        Some(it) => (sign(it.negated), it.value.to_string()),
        None => (' ', "all".to_owned()),
    };
    let mut line = format!("{packets:>5} {bytes:>5} ");
    let _ = write!(
        line,
        "{:<9} {inverted}{protocol:<4} --  ",
        spec.target.name()
    );
    for side in [&matches.in_interface, &matches.out_interface] {
        let _ = write!(
            line,
            "{:<6} ",
            side.as_ref()
                .map_or("*".to_owned(), Negatable::<Interface>::to_string)
        );
    }
    for side in [&matches.source, &matches.destination] {
        let (inverted, network) = match side {
            Some(it) => (sign(it.negated), network(it.value)),
            None => (
                ' ',
                if family == Family::V4 {
                    "0.0.0.0/0"
                } else {
                    "::/0"
                }
                .to_owned(),
            ),
        };
        let _ = write!(line, "{inverted}{network:<19} ");
    }
    if matches!(spec.target, Target::Goto(_)) {
        line.push_str("[goto] ");
    }
    let words = conditions(spec).into_iter();
    for word in words.chain(target::words(&spec.target, family)) {
        let _ = write!(line, " {word}");
    }
    line
}

fn sign(negated: bool) -> char {
    if negated { '!' } else { ' ' }
}

/// A single host without its length, as iptables lists it.
fn network(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        IpAddr::to_string(&network.addr())
    } else {
        network.to_string()
    }
}

fn conditions(spec: &RuleSpec) -> Vec<String> {
    let protocol = spec.matches.only_protocol().map(|it| it.to_string());
    let mut seen = BTreeSet::new();
    let mut words = Vec::new();
    for condition in spec.matches.extensions() {
        let first = seen.insert(condition.module().map(str::to_owned));
        words.push(match condition {
            Match::SourcePort(it) | Match::DestinationPort(it) => {
                let end = if matches!(condition, Match::SourcePort(_)) {
                    's'
                } else {
                    'd'
                };
                let name = protocol
                    .as_deref()
                    .filter(|_| first)
                    .map(|name| format!("{name} "));
                name.unwrap_or_default() + &ports(end, it)
            }
            Match::Ports { end, ports } => {
                let name = match end {
                    None => "ports",
                    Some(End::Source) => "sports",
                    Some(End::Destination) => "dports",
                };
                // Two blanks before the `!`, as `multiport_print` has it.
                let sign = if ports.negated { " !" } else { "" };
                format!("multiport {name} {sign}{}", port_names(&ports.value))
            }
            Match::TcpFlags(it) => {
                let sign = if it.negated { "!" } else { "" };
                let (mask, wanted) = (it.value.mask.bits(), it.value.wanted.bits());
                let name = if first { "tcp " } else { "" };
                format!("{name}flags:{sign}0x{mask:02X}/0x{wanted:02X}")
            }
            Match::SocketExists(wanted) => {
                format!("{}owner socket exists", if *wanted { "" } else { "! " })
            }
            Match::AddressKind { end, kinds } => {
                let name = match end {
                    End::Source => "src-type",
                    End::Destination => "dst-type",
                };
                let sign = if kinds.negated { "!" } else { "" };
                format!("ADDRTYPE match {name} {sign}{}", kind_names(&kinds.value))
            }
            Match::ConnMark(it) => format!("connmark match {} {}", bang(it).trim_end(), it.value),
            Match::OwnerUid(it) => format!("{}owner UID match {}", bang(it), it.value),
            Match::OwnerGid(it) => format!("{}owner GID match {}", bang(it), it.value),
            Match::CtState(it) => states(it),
            Match::Mark(it) => format!("mark match {}{}", bang(it), it.value),
            Match::Comment(text) => format!("/* {text} */"),
            Match::OtherFamily { words, .. } => format!("nft {words}"),
            Match::Verbatim { module, words } => {
                let module = module.iter().filter(|_| condition.is_whole_match());
                module.chain(words).cloned().collect::<Vec<_>>().join(" ")
            }
        });
    }
    words
}

fn bang<T>(condition: &Negatable<T>) -> &'static str {
    if condition.negated { "! " } else { "" }
}

fn states(condition: &Negatable<BTreeSet<CtState>>) -> String {
    format!(
        "{}ctstate {}",
        bang(condition),
        state_names(&condition.value)
    )
}

fn ports(end: char, condition: &Negatable<PortRange>) -> String {
    let many = if condition.value.first() == condition.value.last() {
        ""
    } else {
        "s"
    };
    format!("{end}pt{many}:{condition}")
}
