//! A conntrack table as text and as JSON. Pure.

use serde::Serialize;

use super::{Style, columns::columns};
use crate::{
    evidence::{ConntrackTuple, Tracked, Translated},
    rules::{Counter, Family},
};

/// Entries in columns: those still open first, else by their original tuple.
pub fn conntrack_text(entries: &[Tracked]) -> String {
    if entries.is_empty() {
        return "conntrack has no entry here\n".to_owned();
    }
    let head = [
        "PROTO", "STATE", "ORIGINAL", "REPLY", "NAT", "ZONE", "MARK", "PACKETS", "EXPIRES",
    ];
    let mut rows = vec![head.map(Style::bold).to_vec()];
    rows.extend(sorted(entries).into_iter().map(row));
    columns(&rows)
}

fn row(it: &Tracked) -> Vec<String> {
    let entry = &it.entry;
    let dash = || "-".to_owned();
    let packets = |it: Option<Counter>| it.map_or_else(dash, |it| it.packets.to_string());
    let translated = |was: ConntrackTuple, is: Translated| match is {
        Translated::None => dash(),
        // What it became: where answers come from.
        Translated::Destination => format!("destination → {}", was.src),
        Translated::Source => format!("source → {}", was.dst),
        Translated::Both => format!("source → {}, destination → {}", was.dst, was.src),
    };
    vec![
        proto(it).to_owned(),
        it.state_name().to_owned(),
        ends(entry.original),
        ends(entry.reply),
        translated(entry.reply, it.translated()),
        entry.zone.map_or_else(dash, |it| it.to_string()),
        match entry.mark {
            0 => dash(),
            mark => format!("{mark:#x}"),
        },
        format!(
            "{}/{}",
            packets(entry.original_counter),
            packets(entry.reply_counter)
        ),
        it.expires.map_or_else(dash, |it| format!("{it} s")),
    ]
}

fn proto(it: &Tracked) -> &'static str {
    match it.entry.transport {
        hoplab_proxies::record::Transport::Tcp => "tcp",
        hoplab_proxies::record::Transport::Udp => "udp",
    }
}

fn ends(tuple: ConntrackTuple) -> String {
    format!("{} → {}", tuple.src, tuple.dst)
}

fn sorted(entries: &[Tracked]) -> Vec<&Tracked> {
    let mut sorted: Vec<&Tracked> = entries.iter().collect();
    let over = |it: &Tracked| ["TIME_WAIT", "CLOSE"].contains(&it.state_name());
    sorted.sort_by_key(|it| (over(it), it.entry.original.dst, it.entry.original.src));
    sorted
}

/// An entry as `--json` prints it.
#[derive(Serialize)]
struct Json {
    id: u32,
    family: Family,
    protocol: &'static str,
    state: &'static str,
    original: ConntrackTuple,
    reply: ConntrackTuple,
    /// Which end is translated: none, source, destination or both.
    nat: Translated,
    zone: Option<u16>,
    mark: u32,
    original_counter: Option<Counter>,
    reply_counter: Option<Counter>,
    /// Seconds until it is forgotten.
    expires: Option<u32>,
}

/// The same as a JSON array.
pub fn conntrack_json(entries: &[Tracked]) -> serde_json::Result<String> {
    let all = sorted(entries).into_iter().map(|it| Json {
        id: it.entry.id,
        family: it.entry.family,
        protocol: proto(it),
        state: it.state_name(),
        original: it.entry.original,
        reply: it.entry.reply,
        nat: it.translated(),
        zone: it.entry.zone,
        mark: it.entry.mark,
        original_counter: it.entry.original_counter,
        reply_counter: it.entry.reply_counter,
        expires: it.expires,
    });
    serde_json::to_string_pretty(&all.collect::<Vec<_>>()).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::evidence::ConntrackEntry;

    fn redirected(state: Option<u8>, status: u32) -> Tracked {
        let at = |text: &str| text.parse().expect("an address");
        let tuple = |src, dst| ConntrackTuple {
            src: at(src),
            dst: at(dst),
        };
        Tracked {
            entry: ConntrackEntry {
                id: 7,
                family: Family::V4,
                transport: Default::default(),
                zone: Some(1),
                original: tuple("10.77.0.10:4000", "10.77.0.11:9080"),
                reply: tuple("10.77.0.11:15006", "10.77.0.10:4000"),
                status,
                mark: 0x539,
                original_counter: None,
                reply_counter: None,
            },
            state,
            expires: Some(119),
        }
    }

    #[test]
    fn an_entry_says_what_became_of_its_destination() {
        let text = conntrack_text(&[redirected(Some(3), 1 << 5)]);
        let text = anstream::adapter::strip_str(&text).to_string();
        let row = text.lines().nth(1).expect("one entry");
        let cells: Vec<&str> = row.split("  ").filter(|it| !it.is_empty()).collect();
        let wanted = [
            "tcp",
            "ESTABLISHED",
            "10.77.0.10:4000 → 10.77.0.11:9080",
            "10.77.0.11:15006 → 10.77.0.10:4000",
            "destination → 10.77.0.11:15006",
        ];
        assert_eq!(cells[..5], wanted);
        assert!(row.ends_with("0x539  -/-      119 s"), "{row}");
    }

    #[rstest]
    #[case::tcp(Some(7), 0, "TIME_WAIT")]
    #[case::answered_datagram(None, 1 << 1, "REPLIED")]
    #[case::silent_datagram(None, 0, "UNREPLIED")]
    #[case::a_state_of_a_later_kernel(Some(99), 1 << 2, "ASSURED")]
    fn a_state_has_a_name(#[case] state: Option<u8>, #[case] status: u32, #[case] name: &str) {
        assert_eq!(redirected(state, status).state_name(), name);
    }

    #[test]
    fn connections_that_are_over_come_last() {
        let (open, over) = (redirected(Some(3), 0), redirected(Some(7), 0));
        let both = [over.clone(), open.clone()];
        assert_eq!(sorted(&both), [&open, &over]);
    }
}
