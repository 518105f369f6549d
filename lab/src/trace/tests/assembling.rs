//! Events put together to packets, where the kernel's numbers alone would mislead.

use std::time::{Duration, Instant};

use super::{OWN, book, entry, event, nat, sight, syn};
use crate::trace::{
    Hook, NftEvent, NftKind, Owner, TracedPacket, Verdict,
    assemble::Assembler,
    connections,
    legacy::LegacyRules,
    wire::{Header, LogEvent},
};

fn assembled(events: Vec<NftEvent>) -> (Vec<TracedPacket>, u64) {
    let mut assembler = Assembler::new(OWN.into());
    let book = book();
    for event in events {
        assembler.nft(event, &book);
    }
    (assembler.take_all(), assembler.fragments())
}

/// Through nat OUTPUT, by rule 2 of SUB.
fn redirected(id: u32, header: &Header) -> Vec<NftEvent> {
    let first = NftEvent {
        header: Some(header.clone()),
        output: Some(2),
        ..event(
            id,
            nat("OUTPUT"),
            Some(1),
            NftKind::Rule(Verdict::Jump("SUB".into())),
        )
    };
    let second = event(id, nat("SUB"), Some(5), NftKind::Rule(Verdict::Accept));
    vec![first, second]
}

const BEFORE: (&str, &str) = ("10.0.0.2:4000", "10.0.0.1:80");

fn header(sequence: u32) -> Header {
    syn(BEFORE.0, BEFORE.1, sequence)
}

#[test]
fn a_packet_is_one_over_lo_where_its_trace_id_changes_and_its_addresses_too() {
    let (before, after) = (header(9), syn(BEFORE.0, "127.0.0.1:15001", 9));
    let mut events = vec![sight(1, "mark-output", &before, false)];
    events.extend(redirected(1, &before));
    events.push(sight(1, "output-after-nat", &after, true));
    events.push(sight(1, "postrouting", &after, true));
    events.push(sight(2, "mark-prerouting", &after, true));
    events.push(sight(2, "input", &after, true));
    let (packets, fragments) = assembled(events);
    assert_eq!((packets.len(), fragments), (1, 0));
    let hooks = [
        Hook::Output,
        Hook::Postrouting,
        Hook::Prerouting,
        Hook::Input,
    ];
    assert_eq!(packets[0].hooks(), hooks);
    let lines = [
        "OUTPUT ip nat OUTPUT 1: jump SUB",
        "OUTPUT ip nat SUB 2: accept",
    ];
    assert_eq!(packets[0].lines(), lines);
}

#[test]
fn events_of_two_packets_that_come_in_turns_are_kept_apart() {
    let (one, two) = (header(1), header(2));
    let mut events = vec![
        sight(7, "mark-output", &one, false),
        sight(8, "mark-output", &two, false),
    ];
    let (a, b) = (redirected(7, &one), redirected(8, &two));
    for (a, b) in a.into_iter().zip(b) {
        events.extend([a, b]);
    }
    let (packets, fragments) = assembled(events);
    assert_eq!((packets.len(), fragments), (2, 0));
    assert_eq!(packets[0].lines(), packets[1].lines());
    assert_eq!(packets[0].rules().count(), 2);
}

#[test]
fn a_trace_id_that_is_used_again_is_another_packet() {
    let (one, two) = (header(1), header(2));
    let mut events = redirected(7, &one);
    events.extend(redirected(7, &two));
    let (packets, _) = assembled(events);
    assert_eq!(packets.len(), 2);
    assert_eq!(packets[1].first(), &two);
}

#[test]
fn the_same_bytes_sent_again_are_another_packet() {
    // A SYN of IPv6 that nobody answers: the second looks like the first.
    let mut events = redirected(1, &header(1));
    events.extend(redirected(2, &header(1)));
    assert_eq!(assembled(events).0.len(), 2);
}

#[test]
fn the_same_bytes_in_two_conntrack_entries_are_two_packets() {
    let mark = |id, ct| NftEvent {
        conntrack: entry(ct),
        ..sight(id, "mark-output", &header(1), false)
    };
    let after = |id, ct| NftEvent {
        conntrack: entry(ct),
        ..sight(id, "output-after-nat", &header(1), false)
    };
    let (packets, _) = assembled(vec![mark(1, 51), mark(2, 52), after(1, 51), after(2, 52)]);
    let stations: Vec<_> = packets.iter().map(|it| it.stations.len()).collect();
    assert_eq!(stations, [2, 2]);
    assert_eq!(connections(&packets).len(), 2);
}

#[test]
fn nothing_follows_a_drop() {
    let drop = NftEvent {
        kind: NftKind::Rule(Verdict::Drop),
        ..redirected(1, &header(1)).remove(0)
    };
    let mut assembler = Assembler::new(OWN.into());
    assembler.nft(drop, &book());
    assembler.nft(sight(1, "output-after-nat", &header(1), false), &book());
    let ended = assembler.take_ended(Instant::now());
    assert_eq!(ended.len(), 1);
    assert!(ended[0].dropped().is_some());
    assert_eq!(assembler.take_all().len(), 1);
}

#[test]
fn a_packet_on_its_way_is_kept_until_it_has_arrived() {
    let mut assembler = Assembler::new(OWN.into());
    assembler.nft(sight(1, "mark-prerouting", &header(1), false), &book());
    assert_eq!(assembler.take_ended(Instant::now()), []);
    assembler.nft(sight(1, "input", &header(1), false), &book());
    assert_eq!(assembler.take_ended(Instant::now()).len(), 1);
    assert_eq!(assembler.take_all(), []);
}

#[test]
fn a_packet_that_nothing_follows_is_given_up_after_a_while_and_says_so() {
    let mut assembler = Assembler::new(OWN.into());
    assembler.nft(sight(1, "mark-prerouting", &header(1), false), &book());
    let begun = Instant::now();
    let later = |milliseconds| begun + Duration::from_millis(milliseconds);
    assert_eq!(assembler.take_ended(begun), []);
    assert_eq!(assembler.take_ended(later(900)), []);
    // Something new: the while begins again.
    let asked = NftEvent {
        header: Some(header(1)),
        input: Some(2),
        ..event(1, nat("PREROUTING"), None, NftKind::Policy(Verdict::Accept))
    };
    assembler.nft(asked, &book());
    assert_eq!(assembler.take_ended(later(1_100)), []);
    assert_eq!(assembler.take_ended(later(2_000)), []);
    let given_up = assembler.take_ended(later(2_100));
    let [packet] = &given_up[..] else {
        panic!("{given_up:?}");
    };
    assert_eq!(packet.stations.len(), 2);
    let [doubt] = &packet.doubts[..] else {
        panic!("{:?}", packet.doubts);
    };
    assert!(
        doubt.starts_with("it was not seen after PREROUTING"),
        "{doubt}"
    );
    assert!(!assembler.is_waiting());
}

#[test]
fn the_same_datagram_sent_again_is_a_packet_of_its_own_with_its_own_owner_and_lines() {
    let mut assembler = Assembler::new(OWN.into());
    let rules = LegacyRules::default();
    let same = header(1);
    let log = |prefix: &str, uid| LogEvent {
        hook: Some(Hook::Output),
        prefix: prefix.into(),
        header: same.clone(),
        input: None,
        output: Some(2),
        mark: 0,
        uid: Some(uid),
        gid: Some(uid),
        sequence: None,
    };
    for id in [1, 2, 3] {
        for chain in ["mark-output", "output-after-nat", "postrouting"] {
            assembler.nft(sight(id, chain, &same, false), &book());
        }
    }
    for uid in [7, 8, 9] {
        assert!(assembler.log(&log("hoplab-owner", uid), &rules, false));
        for place in ["rule:1", "policy:2"] {
            let line = log(&format!("TRACE: raw:OUTPUT:{place} "), uid);
            assert!(assembler.log(&line, &rules, false));
        }
    }
    let nobody = log("hoplab-owner", 10);
    assert!(!assembler.log(&nobody, &rules, false));
    let packets = assembler.take_ended(Instant::now());
    let owners = packets.iter().map(|it| &it.owner);
    let owner = |uid| Owner::Socket { uid, gid: uid };
    assert_eq!(
        owners.collect::<Vec<_>>(),
        [&owner(7), &owner(8), &owner(9)]
    );
    for packet in &packets {
        let lines = packet.stations.iter().map(|it| it.steps.len());
        assert_eq!(lines.sum::<usize>(), 2, "{:?}", packet.lines());
    }
    assert_eq!(assembler.fragments(), 0);
    assert!(!assembler.is_waiting());
}

#[test]
fn lines_of_ip_tables_that_are_read_before_the_events_of_their_hook_part_no_packet() {
    let mut assembler = Assembler::new(OWN.into());
    let rules = LegacyRules::default();
    let see = |assembler: &mut Assembler, chain| {
        assembler.nft(sight(1, chain, &header(1), false), &book());
    };
    see(&mut assembler, "mark-output");
    // The packet has passed both hooks by the time the lines are read.
    for (hook, place) in [
        (Hook::Output, "OUTPUT:policy:1"),
        (Hook::Postrouting, "POSTROUTING:policy:1"),
    ] {
        let line = LogEvent {
            hook: Some(hook),
            prefix: format!("TRACE: nat:{place} "),
            header: header(1),
            input: None,
            output: Some(2),
            mark: 0,
            uid: None,
            gid: None,
            sequence: None,
        };
        assert!(assembler.log(&line, &rules, false));
    }
    see(&mut assembler, "output-after-nat");
    see(&mut assembler, "postrouting");
    let packets = assembler.take_ended(Instant::now());
    let [packet] = &packets[..] else {
        panic!("{packets:?}");
    };
    let places = packet.stations.iter().map(|it| (it.hook, it.priority));
    let out = [-350, -100, 300].map(|at| (Hook::Output, at));
    let post = [100, 350].map(|at| (Hook::Postrouting, at));
    assert_eq!(places.collect::<Vec<_>>(), [&out[..], &post[..]].concat());
    assert!(!assembler.is_waiting());
}

#[test]
fn a_packet_is_kept_until_the_last_report_of_its_last_chain() {
    let mut assembler = Assembler::new(OWN.into());
    let arrived = NftEvent {
        kind: NftKind::Rule(Verdict::Continue),
        ..sight(1, "input", &header(1), false)
    };
    assembler.nft(arrived.clone(), &book());
    assert_eq!(assembler.take_ended(Instant::now()), []);
    let policy = NftEvent {
        header: None,
        kind: NftKind::Policy(Verdict::Accept),
        ..arrived
    };
    assembler.nft(policy, &book());
    assert_eq!(assembler.take_ended(Instant::now()).len(), 1);
    assert_eq!(assembler.fragments(), 0);
}

#[test]
fn an_event_whose_first_part_was_lost_is_a_fragment() {
    let (packets, fragments) = assembled(redirected(1, &header(1)).split_off(1));
    assert_eq!((packets.len(), fragments), (0, 1));
}

#[test]
fn the_observers_of_somebody_else_are_passed_over() {
    let mut other = sight(1, "mark-output", &header(1), false);
    other.chain.table = "hoplab-trace-2".into();
    assert_eq!(assembled(vec![other]), (Vec::new(), 0));
}

/// What our own log rule says.
fn logged(header: &Header, prefix: &str, uid: u32) -> LogEvent {
    LogEvent {
        hook: Some(Hook::Output),
        prefix: prefix.into(),
        header: header.clone(),
        input: None,
        output: Some(2),
        mark: 0,
        uid: Some(uid),
        gid: Some(uid),
        sequence: None,
    }
}

#[test]
fn each_packet_gets_its_own_owner() {
    let mut assembler = Assembler::new(OWN.into());
    let nobody = LegacyRules::default();
    for (id, sequence) in [(1, 11), (2, 12)] {
        assembler.nft(sight(id, "mark-output", &header(sequence), false), &book());
    }
    assert!(assembler.log(&logged(&header(12), "hoplab-owner", 1337), &nobody, false));
    assert!(assembler.log(&logged(&header(11), "hoplab-owner", 1000), &nobody, false));
    let stranger = logged(&header(13), "hoplab-owner", 0);
    assert!(!assembler.log(&stranger, &nobody, false));
    let owners: Vec<Owner> = assembler
        .take_all()
        .into_iter()
        .map(|it| it.owner)
        .collect();
    let owner = |uid| Owner::Socket { uid, gid: uid };
    assert_eq!(owners, [owner(1000), owner(1337)]);
}

#[test]
fn a_line_of_ip_tables_without_its_observers_is_kept_and_counted() {
    let mut assembler = Assembler::new(OWN.into());
    let line = logged(&header(1), "TRACE: nat:OUTPUT:rule:1 ", 1000);
    let rules = LegacyRules::default();
    assert!(
        !assembler.log(&line, &rules, false),
        "its events may still come"
    );
    assert_eq!(assembler.fragments(), 0);
    assert!(assembler.log(&line, &rules, true));
    assert_eq!(assembler.fragments(), 1);
    let packets = assembler.take_all();
    assert_eq!(packets[0].lines(), ["OUTPUT ip nat OUTPUT 1: not told"]);
    assert_eq!(
        packets[0].doubts,
        ["ip nat OUTPUT is not in the rule set that was given"]
    );
}
