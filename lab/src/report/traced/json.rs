//! Traced packets as JSON values, one a line.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Surroundings;
use crate::traced::{Block, Step, TracedPacket};

/// Version of the shape of these lines.
pub const TRACE_LINES: u32 = 1;

/// Lines of a trace, for programs: `{"event": …}` each.
///
/// - `start`, once and first: `lines` (version of this shape), and what the caller adds.
/// - `packet`: `connection` (number, from 1), `reply` (in the direction of the answer), `interfaces` (names by the index
///   that stations carry), `packet` (a [`TracedPacket`], with the `text` of each rule beside its place, where it is
///   known), `changes` (fields that changed on the way, and the number of the station that shows it first).
/// - `conntrack`, once a connection, where the entry was seen to begin: `connection`, `entry`.
/// - `end`, once and last: what the caller says.
#[derive(Debug, Clone, Copy)]
pub struct Lines;

impl Lines {
    /// The first line; `about` is an object.
    pub fn start(about: &Value) -> String {
        line("start", &json!({ "lines": TRACE_LINES }), about)
    }

    /// The last line; `about` is an object.
    pub fn end(about: &Value) -> String {
        line("end", &json!({}), about)
    }

    /// The packets of a connection, and its conntrack entry.
    pub fn block(block: &Block, known: Surroundings<'_>) -> String {
        let number = json!({ "connection": block.number });
        let packets = block.packets.iter().map(|(reply, packet)| {
            let more = json!({
                "reply": reply,
                "interfaces": interfaces(packet, known),
                "packet": with_texts(packet, known),
                "changes": packet.changes(),
            });
            line("packet", &number, &more)
        });
        let mut lines: String = packets.collect();
        if let (Some(entry), false) = (known.entry, block.again) {
            lines += &line("conntrack", &number, &json!({ "entry": entry }));
        }
        lines
    }
}

fn line(event: &str, first: &Value, then: &Value) -> String {
    let mut all = json!({ "event": event });
    for part in [first, then] {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part.clone()) {
            all.extend(part);
        }
    }
    format!("{all}\n")
}

fn interfaces<'a>(packet: &TracedPacket, known: Surroundings<'a>) -> BTreeMap<u32, &'a str> {
    let stations = packet.stations.iter();
    let indexes = stations.flat_map(|it| [it.input, it.output]).flatten();
    let named = indexes.filter_map(|it| Some((it, known.interfaces.get(&it)?.as_str())));
    named.collect()
}

fn with_texts(packet: &TracedPacket, known: Surroundings<'_>) -> Value {
    let mut value = json!(packet);
    for (s, station) in packet.stations.iter().enumerate() {
        for (n, step) in station.steps.iter().enumerate() {
            if let Step::Rule { place, .. } = step
                && let Some(text) = known.texts.of(place)
            {
                value["stations"][s]["steps"][n]["place"]["text"] = json!(text);
            }
        }
    }
    value
}
