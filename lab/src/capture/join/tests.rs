use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    capture::Direction,
    traced::{
        ChainName, Hook, Ordinal, Owner, RulePlace, Source, Station, Step, TableFamily, Told,
        Verdict,
    },
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// An IPv4 TCP segment without data, from port 40000, in an Ethernet frame.
fn frame(at: u64, port: u16, sequence: u32, flags: u8) -> Frame {
    let mut bytes = vec![0; 14 + 40];
    bytes[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut bytes[14..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&40u16.to_be_bytes());
    ip[9] = 6;
    ip[12..16].copy_from_slice(&[10, 0, 0, 1]);
    ip[16..20].copy_from_slice(&[10, 0, 0, 2]);
    ip[20..22].copy_from_slice(&40_000u16.to_be_bytes());
    ip[22..24].copy_from_slice(&port.to_be_bytes());
    ip[24..28].copy_from_slice(&sequence.to_be_bytes());
    ip[33] = flags;
    Frame {
        interface: 0,
        time: Duration::from_millis(at),
        direction: Direction::In,
        length: 54,
        bytes,
    }
}

fn header(port: u16, sequence: u32) -> Header {
    frame(0, port, sequence, SYN).header().expect("it is IP")
}

/// A packet that comes to a port, meets a rule of PREROUTING and goes on to another port.
fn redirected(from: u16, to: u16, sequence: u32) -> TracedPacket {
    let chain = |chain: &str| ChainName {
        family: TableFamily::Ip,
        table: "nat".into(),
        chain: chain.into(),
    };
    let station = |hook, header, steps| Station {
        hook,
        priority: -100,
        chain: chain("PREROUTING"),
        source: Source::NftTrace,
        header,
        input: None,
        output: None,
        mark: None,
        conntrack: None,
        steps,
    };
    let rule = Step::Rule {
        place: RulePlace {
            chain: chain("ISTIO_INBOUND"),
            ordinal: Ordinal::Known(5),
            handle: None,
        },
        verdict: Verdict::Accept,
        told: Told::Kernel,
        mark: 0,
    };
    TracedPacket {
        stations: vec![
            station(Hook::Prerouting, header(from, sequence), vec![rule]),
            station(Hook::Input, header(to, sequence), Vec::new()),
        ],
        conntrack: None,
        owner: Owner::Missing("it does not matter".into()),
        doubts: Vec::new(),
    }
}

fn comments(joined: &[Joined]) -> Vec<&str> {
    joined.iter().map(|it| it.comment.as_str()).collect()
}

const WITH_RULES: &str = "pod a
PREROUTING ip nat ISTIO_INBOUND 5: accept
  destination 10.0.0.2:9080 → 10.0.0.2:15006";

#[test]
fn a_packet_waits_for_its_rules_and_those_after_it_wait_too() {
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_frame(frame(1, 9080, 7, SYN), "a", true, now);
    join.add_frame(frame(2, 9080, 8, ACK), "a", true, now);
    assert_eq!(join.ready(now), []);
    join.add_way("a", &redirected(9080, 15006, 7), &RuleTexts::default(), now);
    assert_eq!(comments(&join.ready(now)), [WITH_RULES, "pod a"]);
}

#[test]
fn rules_that_never_come_are_not_waited_for_for_ever_and_not_invented() {
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_frame(frame(1, 9080, 7, SYN), "a", true, now);
    assert_eq!(join.next(), Some(now + FOR_RULES));
    let joined = join.ready(now + FOR_RULES);
    assert_eq!(comments(&joined), ["pod a"]);
    assert!(!joined[0].has_rules);
}

#[test]
fn a_packet_after_the_redirect_is_the_same_packet() {
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_way("a", &redirected(9080, 15006, 7), &RuleTexts::default(), now);
    join.add_frame(frame(1, 15006, 7, SYN), "a", true, now);
    assert_eq!(comments(&join.ready(now)), [WITH_RULES]);
}

#[rstest::rstest]
#[case::another_sequence_number("a", 9080, 8)]
#[case::ends_it_never_had("a", 9999, 7)]
#[case::another_pod("b", 9080, 7)]
fn another_packet_gets_no_rules(#[case] pod: &str, #[case] port: u16, #[case] sequence: u32) {
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_way("a", &redirected(9080, 15006, 7), &RuleTexts::default(), now);
    join.add_frame(frame(1, port, sequence, SYN), pod, true, now);
    assert_eq!(comments(&join.rest()), [format!("pod {pod}")]);
}

#[test]
fn packets_come_in_the_order_of_time_whatever_interface_was_read_first() {
    let (mut join, now) = (Join::default(), Instant::now());
    for at in [3, 1, 2] {
        join.add_frame(frame(at, 9080, 7, ACK), "a", true, now);
    }
    let times = join
        .ready(now)
        .into_iter()
        .map(|it| it.frame.time.as_millis());
    assert_eq!(times.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_waits_is_bounded() {
    let (mut join, now) = (Join::default(), Instant::now());
    let mut large = frame(1, 9080, 7, SYN);
    large.bytes.resize(MOST_BYTES / 4, 0);
    for at in 0..8 {
        let one = Frame {
            time: Duration::from_millis(at),
            ..large.clone()
        };
        join.add_frame(one, "a", true, now);
    }
    assert_eq!(join.ready(now).len(), 4);
    assert!(join.bytes <= MOST_BYTES);
}

#[test]
fn rules_without_a_packet_are_forgotten() {
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_way("a", &redirected(9080, 15006, 7), &RuleTexts::default(), now);
    join.ready(now + FOR_PACKET);
    assert!(join.ways.is_empty() && join.order.is_empty());
}

#[test]
fn a_frame_that_is_no_ip_has_no_header_and_waits_for_nothing() {
    let mut arp = frame(1, 9080, 7, SYN);
    arp.bytes[12..14].copy_from_slice(&[8, 6]);
    let (mut join, now) = (Join::default(), Instant::now());
    join.add_frame(arp, "a", true, now);
    assert_eq!(comments(&join.ready(now)), ["pod a"]);
    let source = header(1, 1).source;
    assert_eq!(source, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
}
