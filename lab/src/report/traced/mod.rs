//! Traced packets for people, one connection a block, and for programs, one JSON value a line.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Style;
use crate::{
    evidence::{ConntrackEntry, ConntrackTuple},
    traced::{
        Block, Change, ChangedField, Header, Hook, Owner, RuleTexts, Station, Step, TableFamily,
        TracedPacket, Verdict,
    },
};

mod json;

pub use json::{MatchedRule, TRACE_LINES, TraceLine, block_lines};

/// What is known of the namespace that packets were traced in.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Names of interfaces by index.
    pub interfaces: &'a BTreeMap<u32, String>,
    /// What its rules say.
    pub texts: &'a RuleTexts,
    /// conntrack's entry of the connection, where it was seen to begin.
    pub entry: Option<&'a ConntrackEntry>,
}

/// Column of what rules say, from that of the hook.
const TEXT_COLUMN: usize = 30;

/// A connection's packets: each hook, each rule that matched with its text, and what changed. A rule that is not named
/// did not match. The first line is not indented, and an empty line ends the block.
pub fn block_text(block: &Block, known: Surroundings<'_>) -> String {
    let mut out = String::new();
    let Some((reply, first)) = block.packets.first() else {
        return out;
    };
    let header = first.first();
    let (source, destination) = match reply {
        false => (end(header, true), end(header, false)),
        // As the one who opened it sees it.
        true => (end(first.last(), false), end(first.last(), true)),
    };
    let more = if block.again { ", more of it" } else { "" };
    let head = format!(
        "#{} {} {source} → {destination}{more}",
        block.number,
        protocol(header)
    );
    let _ = writeln!(out, "{}", Style::bold(&head));
    for (reply, packet) in &block.packets {
        packet_text(&mut out, *reply, packet, known);
    }
    let conntrack = block.packets.iter().find_map(|(_, it)| it.conntrack);
    if let Some(seen) = conntrack {
        let _ = writeln!(
            out,
            "  {}",
            Style::dim(&conntrack_words(seen.id, known.entry))
        );
    }
    out.push('\n');
    out
}

fn packet_text(out: &mut String, reply: bool, packet: &TracedPacket, known: Surroundings<'_>) {
    let arrow = if reply { "←" } else { "→" };
    let _ = writeln!(
        out,
        "  {arrow} {}{}",
        packet_words(packet.first()),
        from_and_to(packet, known)
    );
    let changes = packet.changes();
    let mut at = 0;
    while let Some(station) = packet.stations.get(at) {
        let hook = station.hook;
        let rest = &packet.stations[at..];
        let here = rest.iter().take_while(|it| it.hook == hook).count();
        let mut lines = Vec::new();
        for (offset, station) in rest[..here].iter().enumerate() {
            let before = changes.iter().filter(|it| it.station == at + offset);
            lines.extend(before.map(change_words));
            lines.extend(
                station
                    .steps
                    .iter()
                    .map(|it| step_words(station, it, known)),
            );
        }
        if rest[..here].iter().all(|it| it.steps.is_empty()) {
            lines.insert(0, Style::dim("no rule matched"));
        }
        let mut name = hook.chain();
        for line in lines {
            let _ = writeln!(out, "    {name:<11}  {line}");
            name = "";
        }
        at += here;
    }
    if packet.dropped().is_some() {
        let _ = writeln!(out, "    ✗ dropped");
    }
    for doubt in &packet.doubts {
        let _ = writeln!(out, "    ? {doubt}");
    }
}

fn step_words(station: &Station, step: &Step, known: Surroundings<'_>) -> String {
    match step {
        Step::Rule { place, verdict, .. } => {
            let said = place_words(station, &place.to_string());
            let text = known.texts.of(place);
            // A rule's text says what it does, but for what only the kernel knew.
            let verdict = match (text, verdict) {
                (None, _) | (_, Verdict::Drop | Verdict::Stolen | Verdict::NotTold) => {
                    format!("  {verdict}")
                }
                _ => String::new(),
            };
            let text = text.unwrap_or_default();
            format!("{said:<TEXT_COLUMN$}  {text}{verdict}")
                .trim_end()
                .to_owned()
        }
        Step::End { chain, rules } => {
            let said = place_words(station, &format!("{chain} end"));
            let rules = rules.map_or(String::new(), |count| format!("  of {count} rules"));
            Style::dim(&format!("{said:<TEXT_COLUMN$}{rules}"))
        }
        Step::Policy { chain, verdict } => {
            let said = place_words(station, &format!("{chain} policy"));
            let line = format!("{said:<TEXT_COLUMN$}  {verdict}");
            match verdict {
                Verdict::Accept => Style::dim(&line),
                _ => line,
            }
        }
    }
}

/// A place without its family where that is the one of iptables: the packet tells it.
fn place_words(station: &Station, place: &str) -> String {
    let family = match station.chain.family {
        TableFamily::Ip => "ip ",
        TableFamily::Ip6 => "ip6 ",
        TableFamily::Inet | TableFamily::Other(_) => "",
    };
    place.strip_prefix(family).unwrap_or(place).to_owned()
}

fn change_words(change: &Change) -> String {
    let field = match change.field {
        ChangedField::Source => "source",
        ChangedField::Destination => "destination",
        ChangedField::Mark => "mark",
        ChangedField::HopsLeft => "hops left",
    };
    format!("  {field} {} → {}", change.before, change.after)
}

/// What a packet is: `syn`, `udp, 33 bytes`, `icmp 3/3`.
fn packet_words(header: &Header) -> String {
    match (&header.tcp, &header.icmp) {
        (Some(tcp), _) => tcp.flag_words(),
        (_, Some(icmp)) => format!("icmp {}/{}", icmp.kind, icmp.code),
        _ => format!("{}, {} bytes", protocol(header), header.length),
    }
}

fn protocol(header: &Header) -> String {
    match header.protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        other => format!("protocol {other}"),
    }
}

fn end(header: &Header, source: bool) -> String {
    match (source, header.source_port) {
        (true, Some(_)) => header.source_end().to_string(),
        (false, Some(_)) => header.destination_end().to_string(),
        (true, None) => header.source.to_string(),
        (false, None) => header.destination.to_string(),
    }
}

fn from_and_to(packet: &TracedPacket, known: Surroundings<'_>) -> String {
    let name = |index: u32| {
        let name = known.interfaces.get(&index).cloned();
        name.unwrap_or_else(|| format!("interface {index}"))
    };
    let mut words = String::new();
    if let Some(index) = packet.stations.first().and_then(|it| it.input) {
        let _ = write!(words, ", in by {}", name(index));
    }
    if let Owner::Socket { uid, gid } = packet.owner {
        let _ = write!(words, ", from uid {uid} gid {gid}");
    }
    let leaving = |it: &&Station| it.hook == Hook::Postrouting && it.output.is_some();
    if let Some(index) = packet
        .stations
        .iter()
        .find(leaving)
        .and_then(|it| it.output)
    {
        let over = packet.stations.iter().any(|it| it.hook == Hook::Input);
        let _ = match over && packet.stations[0].hook == Hook::Output {
            true => write!(words, ", over {}", name(index)),
            false => write!(words, ", out by {}", name(index)),
        };
    }
    words
}

fn conntrack_words(id: u32, entry: Option<&ConntrackEntry>) -> String {
    let mut words = format!("conntrack {id}");
    let Some(entry) = entry else {
        return words;
    };
    if let Some(zone) = entry.zone {
        let _ = write!(words, " in zone {zone}");
    }
    let ConntrackTuple { src, dst } = entry.original;
    let _ = write!(words, ": {src} → {dst}");
    let mirror = ConntrackTuple { src: dst, dst: src };
    let ConntrackTuple { src, dst } = entry.reply;
    let _ = match entry.reply == mirror {
        true => write!(words, ", not translated"),
        false => write!(words, ", answered {src} → {dst}"),
    };
    if entry.mark != 0 {
        let _ = write!(words, ", mark {:#x}", entry.mark);
    }
    words
}
