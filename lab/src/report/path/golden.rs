//! The golden text of a path: what matched, without anything that is another one the next time, on another backend, or
//! because rules elsewhere moved. No source ports, process ids, witnesses, places of rules or rules that did not match.

use std::fmt::Write as _;

use super::words;
use crate::path::{Event, Hop, Leg, Path, Way};

/// The lines of a path: `flow NAME`, then its connections in the order things happen, one hop a line. The lines below
/// the first are indented, so that a diff names the flow they belong to.
pub fn golden(path: &Path) -> String {
    let mut out = format!("flow {}\n", path.flow);
    let _ = writeln!(out, "  {} → {}: {}", path.from, path.to, path.answer);
    for (leg, way) in path.order() {
        // Where nothing happens to the answer there is nothing to tell.
        let told = |hop: &&Hop| !hop.is_silent_but_for(|it| it.is_other_port(&leg.source));
        let hops = || leg.way(way).iter().flat_map(|it| &it.hops).filter(told);
        if way == Way::Back && hops().next().is_none() {
            continue;
        }
        let back = if way == Way::Back { "answer to " } else { "" };
        let _ = writeln!(out, "  {back}{}", words::stable_leg(leg));
        for stretch in leg.way(way) {
            for hop in stretch.hops.iter().filter(told) {
                let _ = writeln!(out, "    {:16}{}", stretch.pod, hop_words(leg, hop));
            }
        }
    }
    out
}

/// One hop as golden texts have it.
pub fn hop_words(leg: &Leg, hop: &Hop) -> String {
    let hook = hop.hook.map_or("", |it| it.chain());
    let words = match &hop.event {
        Event::Connect { failed, .. } => match failed {
            Some(errno) => format!("connect: {errno}"),
            None => "connect".to_owned(),
        },
        Event::Rule {
            table, chain, text, ..
        } => {
            format!(
                "{hook:12}{table} {chain}: {}",
                text.as_deref().unwrap_or("?")
            )
        }
        Event::Policy {
            table,
            chain,
            verdict,
        } => format!("{hook:12}{table} {chain}: policy {verdict}"),
        Event::Passed { .. } => format!("{hook:12}no rule"),
        Event::Accept { .. } => format!("accept      {}", words::event(leg, hop)),
        Event::Refused { .. } => format!("refused     {}", words::event(leg, hop)),
        Event::Unreachable | Event::Unrouted | Event::Unknown { .. } => words::event(leg, hop),
    };
    // Whether a port is taken is chance.
    let lasting = hop.changes.iter();
    let lasting = lasting.filter(|it| !it.is_other_port(&leg.source));
    let changes: Vec<String> = lasting.map(|it| words::stable_change(leg, it)).collect();
    match changes.is_empty() {
        true => words,
        false => format!("{words}; {}", changes.join("; ")),
    }
}
