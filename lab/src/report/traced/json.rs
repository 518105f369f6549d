//! Traced packets as JSON values, one a line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Surroundings;
use crate::{
    evidence::ConntrackEntry,
    traced::{Block, Change, Hook, RulePlace, TracedPacket, Verdict},
};

/// Version of the shape of these lines.
pub const TRACE_LINES: u32 = 1;

/// Lines of a trace, for programs: `{"event": …}` each.
///
/// - `start`, once and first: `lines` (version of this shape), and what the caller adds.
/// - `packet`: `connection` (number, from 1), `reply` (in the direction of the answer), `rules` (what matched, in order,
///   with the `text` of each rule where it is known), `changes` (fields that changed on the way, and the number of the
///   station that shows it first), `interfaces` (names by the index that stations carry), `packet` (a [`TracedPacket`]).
/// - `conntrack`, once a connection, where the entry was seen to begin: `connection`, `entry`.
/// - `end`, once and last: what the caller says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum TraceLine<'a, A> {
    /// The first one.
    Start {
        /// Version of the shape.
        lines: u32,
        /// What the caller adds.
        #[serde(flatten)]
        about: A,
    },
    /// A packet.
    Packet {
        /// Number of its connection.
        connection: u64,
        /// In the direction of the answer.
        reply: bool,
        /// Rules that matched, in order.
        rules: Vec<MatchedRule<'a>>,
        /// What changed on the way.
        changes: Vec<Change>,
        /// Names of the interfaces it met.
        interfaces: BTreeMap<u32, &'a str>,
        /// All of it.
        packet: &'a TracedPacket,
    },
    /// conntrack's entry of a connection, as it began.
    Conntrack {
        /// Number of the connection.
        connection: u64,
        /// The entry.
        entry: &'a ConntrackEntry,
    },
    /// The last one.
    End {
        /// What the caller says.
        #[serde(flatten)]
        about: A,
    },
}

/// A rule that matched, for those who don't want to look for it in the stations.
#[derive(Debug, Clone, Serialize)]
pub struct MatchedRule<'a> {
    /// Where.
    pub hook: Hook,
    /// Which.
    #[serde(flatten)]
    pub place: &'a RulePlace,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// What it decided.
    pub verdict: &'a Verdict,
}

impl<A: Serialize> TraceLine<'_, A> {
    /// The line, with its end.
    pub fn text(&self) -> String {
        // Keys are names or numbers, and nothing in it can fail.
        serde_json::to_string(self).expect("a line has a JSON form") + "\n"
    }
}

/// A line that is neither the first nor the last.
type Line<'a> = TraceLine<'a, ()>;

/// The packets of a connection, and its conntrack entry the first time.
pub fn block_lines(block: &Block, known: Surroundings<'_>) -> String {
    let connection = block.number;
    let mut lines = String::new();
    for (reply, packet) in &block.packets {
        let rules = packet.rules().map(|(hook, place, verdict)| MatchedRule {
            hook,
            place,
            text: known.texts.of(place),
            verdict,
        });
        let line = Line::Packet {
            connection,
            reply: *reply,
            rules: rules.collect(),
            changes: packet.changes(),
            interfaces: interfaces(packet, known),
            packet,
        };
        lines += &line.text();
    }
    if let (Some(entry), false) = (known.entry, block.again) {
        lines += &Line::Conntrack { connection, entry }.text();
    }
    lines
}

fn interfaces<'a>(packet: &TracedPacket, known: Surroundings<'a>) -> BTreeMap<u32, &'a str> {
    let stations = packet.stations.iter();
    let indexes = stations.flat_map(|it| [it.input, it.output]).flatten();
    let named = indexes.filter_map(|it| Some((it, known.interfaces.get(&it)?.as_str())));
    named.collect()
}
