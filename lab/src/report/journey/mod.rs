//! What a rule set does to one packet, as text and as JSON. Colour is never the only sign.

use std::fmt::Write as _;

use super::Style;
use crate::model::{
    By, Journey, JourneyEnd, Outcome, Packet, Passage, Question, Traversal, Try, TryResult,
    WithoutNat,
};
use crate::rules::{Flow, RuleSet, Table, effect, spec_text};

mod json;

pub use json::journey_json;

/// The whole way: every hook, table, chain and rule asked, and the outcome last.
pub fn journey_text(rules: &RuleSet, question: &Question, journey: &Journey) -> String {
    let mut out = String::new();
    let Question {
        packet,
        host,
        assumed,
    } = question;
    let _ = writeln!(out, "{}   {}", Style::bold("packet"), packet_words(packet));
    let marks = host.local_marks.iter().flatten();
    let marks =
        marks.map(|mark| format!("mark {mark} is routed to this machine (ip rule fwmark {mark})"));
    for (index, line) in assumed.iter().cloned().chain(marks).enumerate() {
        let head = if index == 0 { "assumed" } else { "" };
        let _ = writeln!(out, "{head:7}  {line}");
    }
    if rules.is_empty() {
        let _ = writeln!(out, "note     the rules hold nothing for {}", rules.family);
    }
    let mut before = packet.clone();
    for passage in &journey.passages {
        hook(&mut out, rules, passage, &before);
        if let Some((_, last)) = passage.tables.last() {
            before = last.left.clone();
        }
    }
    let _ = writeln!(
        out,
        "\n{}  {}",
        Style::bold("outcome"),
        end_words(question, journey)
    );
    out
}

/// The outcome in one line: `✔ delivered to 127.0.0.1:15006; it was sent to …`.
pub fn end_words(question: &Question, journey: &Journey) -> String {
    let turned = turns(journey);
    let by = match turned.is_empty() {
        true => String::new(),
        false => format!(" ({})", turned.join(", ")),
    };
    let sent_to = question.packet.dst;
    match &journey.end {
        JourneyEnd::Delivered { at, .. } if !question.host.is_local(at.ip()) => {
            format!("✔ routed to this machine by its mark, to the socket on {at}{by}")
        }
        JourneyEnd::Delivered { at, original } if at == original => {
            format!("✔ delivered to the socket on {at}{by}")
        }
        JourneyEnd::Delivered { at, original } => {
            format!("✔ delivered to the socket on {at}; it was sent to {original}{by}")
        }
        JourneyEnd::Sent { to } if *to == sent_to => format!("✔ sent out to {to}{by}"),
        JourneyEnd::Sent { to } => format!("✔ sent out to {to}; it was sent to {sent_to}{by}"),
        JourneyEnd::Gone(outcome) => format!("✗ {outcome}"),
        JourneyEnd::Unknown(why) => format!("? unknown: {why}"),
    }
}

/// A packet in words: `tcp 10.0.0.1:40000 -> 10.244.1.20:9080, NEW, in by eth0`.
pub fn packet_words(packet: &Packet) -> String {
    let mut words = format!("{} {} -> {}", packet.protocol, packet.src, packet.dst);
    if !packet.protocol.has_ports() {
        words = format!(
            "{} {} -> {}",
            packet.protocol,
            packet.src.ip(),
            packet.dst.ip()
        );
    }
    let _ = write!(words, ", {}", packet.state);
    if let Some((uid, gid)) = packet.owner {
        let _ = write!(words, ", user {uid} group {gid}");
    }
    for (word, interface) in [("in", &packet.in_iface), ("out", &packet.out_iface)] {
        if let Some(interface) = interface {
            let _ = write!(words, ", {word} by {interface}");
        }
    }
    for (what, mark) in [("mark", packet.mark), ("connection mark", packet.connmark)] {
        if mark != 0 {
            let _ = write!(words, ", {what} {mark:#x}");
        }
    }
    if let Some(zone) = packet.zone {
        let _ = write!(words, ", zone {zone}");
    }
    words
}

/// What rules did to it on its way, other than let it go on.
fn turns(journey: &Journey) -> Vec<String> {
    let tables = journey.passages.iter().flat_map(|it| &it.tables);
    let outcomes = tables.map(|(_, traversal)| &traversal.decided);
    let turned = outcomes.filter(|it| {
        !matches!(
            it,
            Outcome::Accepted { .. } | Outcome::Unknown { .. } | Outcome::Dropped { .. }
        )
    });
    turned.map(ToString::to_string).collect()
}

fn hook(out: &mut String, rules: &RuleSet, passage: &Passage, before: &Packet) {
    let at = passage.tables.first().map(|(_, it)| &it.left);
    let interface = |name: Option<&String>, word| name.map(|it| format!(", {word} by {it}"));
    let by = at.and_then(|it| {
        interface(it.in_iface.as_ref(), "in").or(interface(it.out_iface.as_ref(), "out"))
    });
    let name = Style::bold(&passage.hook.to_string());
    let _ = writeln!(out, "\n{name}{}", by.unwrap_or_default());
    let silent =
        |it: &Traversal| it.tried.is_empty() && matches!(it.decided, Outcome::Accepted { .. });
    let quiet = passage.tables.iter().filter(|(_, it)| silent(it));
    let quiet: Vec<&str> = quiet.map(|(table, _)| table.name()).collect();
    if !quiet.is_empty() {
        let _ = writeln!(out, "  {}: no rules", quiet.join(", "));
    }
    if let Some(why) = passage
        .without_nat
        .filter(|_| rules.tables.contains_key(&Table::Nat))
    {
        let why = match why {
            WithoutNat::NotFirst => "it is asked for the first packet of a connection only",
            WithoutNat::Settled => "an earlier hook asked it about this connection",
            WithoutNat::Untracked if rules.wakes_conntrack() => {
                "conntrack does not follow this packet"
            }
            WithoutNat::Untracked => "conntrack sleeps, since no rule here needs it",
        };
        let _ = writeln!(out, "  nat: not asked, {why}");
    }
    let mut before = before.clone();
    for (table, traversal) in &passage.tables {
        if !silent(traversal) {
            let _ = writeln!(out, "  {table}");
            tried(out, rules, traversal);
            let _ = writeln!(out, "    {}", decision(traversal, &before));
        }
        before = traversal.left.clone();
    }
}

fn decision(traversal: &Traversal, before: &Packet) -> String {
    let mut words = format!("decided: {}", traversal.decided);
    let left = &traversal.left;
    for (what, old, new) in [
        ("mark", before.mark, left.mark),
        ("connection mark", before.connmark, left.connmark),
    ] {
        if old != new {
            let _ = write!(words, "; {what} {old:#x} is now {new:#x}");
        }
    }
    if let Some(zone) = left.zone.filter(|_| before.zone.is_none()) {
        let _ = write!(words, "; put into conntrack zone {zone}");
    }
    words
}

fn tried(out: &mut String, rules: &RuleSet, traversal: &Traversal) {
    // The chains the packet is in, from the built-in one.
    let mut inside: Vec<&str> = Vec::new();
    let mut shown = "";
    for one in &traversal.tried {
        let chain = one.rule.chain.as_str();
        match inside.iter().position(|it| *it == chain) {
            Some(depth) => inside.truncate(depth + 1),
            None => inside.push(chain),
        }
        let depth = inside.len();
        if shown != chain {
            let _ = writeln!(out, "{:1$}{chain}", "", 2 + 2 * depth);
            shown = chain;
        }
        one_rule(out, rules, one, 4 + 2 * depth);
        let goes = rules.rule(&one.rule).map(|it| it.spec.target.flow());
        if matches!(goes, Some(Flow::Leaves(_))) && one.result == TryResult::Matched {
            inside.pop();
        }
    }
}

fn one_rule(out: &mut String, rules: &RuleSet, one: &Try, indent: usize) {
    let (text, does) = match rules.rule(&one.rule) {
        Some(rule) => {
            let text = spec_text(&one.rule.chain, &rule.spec);
            let bare = text.splitn(3, ' ').nth(2).unwrap_or("(every packet)");
            (bare.to_owned(), effect(&rule.spec.target))
        }
        None => (String::new(), String::new()),
    };
    let (mark, words) = match &one.result {
        TryResult::Matched => ("✔", format!("matched: {does}")),
        TryResult::Failed(mismatch) => ("✗", format!("no match: {mismatch}")),
        TryResult::Unknown(why) => ("?", format!("unknown: {why}")),
    };
    let ordinal = one.rule.ordinal;
    let _ = writeln!(out, "{:indent$}{mark} {ordinal:>2}  {text}", "");
    let words = match one.result {
        TryResult::Failed(_) => Style::dim(&words),
        _ => words,
    };
    let _ = writeln!(out, "{:indent$}      {words}", "");
}

/// What settled a decision, for programs: the rule's id, the chain of a policy, or nothing.
fn by_key(by: &By) -> Option<String> {
    match by {
        By::Rule(rule) => Some(rule.key()),
        By::Policy(chain) => Some(format!("policy {chain}")),
        By::Nobody => None,
    }
}
