//! Rules with a remark on each in plain words, for people.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use super::address_kind::End;
use super::matches::{Match, RuleSpec};
use super::render::spec_text;
use super::rounded::Rounded;
use super::set::{Counter, RuleSet};
use super::target::Target;
use super::values::Negatable;

/// Every table and chain, each rule with its number, its text, what it does in words, and what it counted if that is
/// known:
///
/// ```text
///   4  -m owner --uid-owner 1337 -j RETURN
///      sent by user 1337: back to where the chain was entered [61 packets]
/// ```
pub fn annotated(rules: &RuleSet) -> String {
    let mut text = String::new();
    for (table, chains) in &rules.tables {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{} table {table}", rules.family);
        for chain in chains.chains() {
            let fallback = match chain.policy {
                Some(policy) => format!("else {policy}"),
                None => match chains.references(&chain.name) {
                    1 => "entered by 1 rule".to_owned(),
                    many => format!("entered by {many} rules"),
                },
            };
            let nft = chain.nft.as_ref().map(|base| format!(" (nft: {base})"));
            let _ = writeln!(
                text,
                "\n{}{}, {fallback}{}",
                chain.name,
                nft.unwrap_or_default(),
                figures(chain.policy_counters, chain.policy_rounded)
            );
            for (ordinal, rule) in (1..).zip(&chain.rules) {
                let line = spec_text(&chain.name, &rule.spec);
                let line = line
                    .splitn(3, ' ')
                    .nth(2)
                    .unwrap_or("(no condition, no target)");
                let _ = writeln!(
                    text,
                    "{ordinal:>3}  {line}\n     {}{}",
                    remark(&rule.spec),
                    figures(rule.counters, rule.rounded)
                );
            }
        }
    }
    text
}

/// What was counted: ` [61 packets]`, or from least to most where a listing rounded it.
fn figures(exact: Option<Counter>, rounded: Option<Rounded>) -> String {
    match (exact, rounded.map(|it| it.packets)) {
        (Some(it), _) => format!(" [{} packets]", it.packets),
        (None, Some(range)) => match range.exact() {
            Some(packets) => format!(" [{packets} packets]"),
            None => format!(" [{} to {} packets]", range.least, range.most),
        },
        (None, None) => String::new(),
    }
}

/// What a rule does, in words.
fn remark(spec: &RuleSpec) -> String {
    let conditions = conditions(spec);
    let subject = match conditions.is_empty() {
        true => "everything".to_owned(),
        false => conditions.join(", "),
    };
    format!("{subject}: {}", effect(&spec.target))
}

fn not<T>(condition: &Negatable<T>) -> &'static str {
    if condition.negated { "not " } else { "" }
}

fn list<T: Display>(values: &BTreeSet<T>) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(" or ")
}

fn conditions(spec: &RuleSpec) -> Vec<String> {
    let matches = &spec.matches;
    let mut words = Vec::new();
    if let Some(it) = &matches.protocol {
        words.push(format!("{}{}", not(it), it.value));
    }
    for (it, which) in [(&matches.source, "from"), (&matches.destination, "to")] {
        words.extend(
            it.as_ref()
                .map(|it| format!("{}{which} {}", not(it), it.value)),
        );
    }
    let interfaces = [
        (&matches.in_interface, "in"),
        (&matches.out_interface, "out"),
    ];
    for (it, which) in interfaces {
        words.extend(
            it.as_ref()
                .map(|it| format!("{}{which} by {}", not(it), it.value)),
        );
    }
    words.extend(matches.extensions().iter().map(condition));
    words
}

fn condition(condition: &Match) -> String {
    let end = |end: &End| match end {
        End::Source => "source",
        End::Destination => "destination",
    };
    match condition {
        Match::SourcePort(it) => format!("{}from port {}", not(it), it.value),
        Match::DestinationPort(it) => format!("{}to port {}", not(it), it.value),
        Match::Ports { end, ports } => {
            let which = match end {
                None => "from or to",
                Some(End::Source) => "from",
                Some(End::Destination) => "to",
            };
            format!("{}{which} port {}", not(ports), list(&ports.value))
        }
        Match::TcpFlags(it) => {
            let (wanted, mask) = (it.value.wanted, it.value.mask);
            format!("{}with flags {wanted} of {mask}", not(it))
        }
        Match::OwnerUid(it) => format!("{}sent by user {}", not(it), it.value),
        Match::OwnerGid(it) => format!("{}sent by group {}", not(it), it.value),
        Match::SocketExists(true) => "sent from a socket".to_owned(),
        Match::SocketExists(false) => "not sent from a socket".to_owned(),
        Match::CtState(it) => format!("{}{}", not(it), list(&it.value)),
        Match::Mark(it) => format!("{}marked {}", not(it), it.value),
        Match::ConnMark(it) => format!("of a connection {}marked {}", not(it), it.value),
        Match::AddressKind { end: which, kinds } => {
            format!("{} {}{}", end(which), not(kinds), list(&kinds.value))
        }
        Match::Comment(text) => format!("\"{text}\""),
        Match::OtherFamily { family, words } => format!("{family} only ({words})"),
        Match::Verbatim { .. } => "with a condition that is not modelled".to_owned(),
    }
}

/// What a target does, in words: `asks ISTIO_OUTPUT`, `turned to port 15001 of this machine`.
pub fn effect(target: &Target) -> String {
    match target {
        Target::None => "counted only".to_owned(),
        Target::Jump(chain) => format!("asks {chain}"),
        Target::Goto(chain) => {
            format!("asks {chain}, which returns to where this chain was entered")
        }
        Target::Return => "back to where the chain was entered".to_owned(),
        Target::Accept => "goes on as it is".to_owned(),
        Target::Drop => "dropped".to_owned(),
        Target::Reject { with } => format!("rejected with {with}"),
        Target::Redirect { ports: Some(ports) } => {
            format!("turned to port {} of this machine", ports.dashed())
        }
        Target::Redirect { ports: None } => "turned to this machine".to_owned(),
        Target::Dnat(range) => format!("sent to {range} instead"),
        Target::Snat(range) => format!("made to come from {range}"),
        Target::Masquerade(_) => "made to come from the interface's address".to_owned(),
        Target::Tproxy { port, mark, .. } => {
            format!("handed to the socket on port {port} as it is, mark {mark}")
        }
        Target::Mark(change) => format!("mark set to {change}, then the next rule"),
        Target::Connmark(action) => format!("CONNMARK {action}, then the next rule"),
        Target::Zone { .. } => "put into a conntrack zone, then the next rule".to_owned(),
        Target::Notrack => "hidden from conntrack, then the next rule".to_owned(),
        Target::Log(_) | Target::Nflog(_) => "logged, then the next rule".to_owned(),
        Target::Trace => "traced, then the next rule".to_owned(),
        Target::Verbatim(_) => format!("{}, which is not modelled", target.name()),
    }
}
