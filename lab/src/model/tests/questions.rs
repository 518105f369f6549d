//! Packets as people write them, and the way of replies that rules mark.

use rstest::rstest;

use super::*;
use crate::rules::{CtState, MarkValue};

fn asked(text: &str) -> Question {
    question(text, "packet 1", &Given::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[rstest]
#[case::own_address("uid=1337 out=lo dst=10.244.1.20:9080", "10.244.1.20", "lo")]
#[case::loopback("uid=1000 src=10.244.1.20 dst=127.0.0.1:9080", "10.244.1.20", "lo")]
#[case::another_machine("uid=1000 src=10.244.1.20 dst=10.0.0.9:80", "10.244.1.20", "eth0")]
#[case::ipv6("uid=1000 src=fd00::2 dst=[fd00::9]:80", "fd00::2", "eth0")]
#[case::nothing_tells("uid=1000 dst=10.0.0.9:80", "192.0.2.2", "eth0")]
#[case::another_interface("out=net1 src=10.1.1.1 dst=10.0.0.9:80", "10.1.1.1", "net1")]
fn a_packet_that_is_sent_tells_the_machine_as_far_as_it_can(
    #[case] text: &str,
    #[case] address: IpAddr,
    #[case] out: &str,
) {
    let Question { packet, host, .. } = asked(text);
    assert_eq!(
        (host.address, packet.out_iface.as_deref()),
        (address, Some(out))
    );
    assert_eq!((packet.in_iface, packet.state), (None, CtState::New));
}

#[test]
fn a_packet_that_comes_in_is_for_this_machine() {
    let Question {
        packet,
        host,
        assumed,
    } = asked("in=eth0 dst=10.244.1.20:9080");
    assert_eq!(host.address, packet.dst.ip());
    assert_eq!(
        (packet.in_iface.as_deref(), packet.owner),
        (Some("eth0"), None)
    );
    assert_eq!(
        assumed,
        [
            "10.244.1.20 is the address of this machine: the packet comes in for it",
            "it comes from 192.0.2.3, another machine",
            "it comes from port 40000",
        ]
    );
}

#[test]
fn every_word_of_a_packet_is_taken() {
    let text = "out=lo proto=tcp source=10.0.0.1 sport=5 dst=10.0.0.2 dport=6 uid=7 gid=8 mark=0x539 \
        connmark=9 state=established zone=2 flags=FIN,ACK";
    let Question {
        packet, assumed, ..
    } = asked(text);
    let flags = crate::rules::TcpFlags::from_names("FIN,ACK").expect("these are flags");
    let expected = Packet {
        mark: 1337,
        connmark: 9,
        state: CtState::Established,
        zone: Some(2),
        tcp_flags: flags,
        ..Packet::tcp(([10, 0, 0, 1], 5).into(), ([10, 0, 0, 2], 6).into())
            .leaving_by("lo")
            .owned_by(7, 8)
    };
    assert_eq!(packet, expected);
    assert_eq!(
        assumed,
        ["10.0.0.2 is the address of this machine: it is reached by lo"]
    );
}

#[rstest]
#[case::key(
    "in=eth0 dsst=10.0.0.1:80",
    9,
    "a packet has no `dsst`",
    "did you mean `dst`?"
)]
#[case::no_key(
    "in=eth0 10.0.0.1:80",
    9,
    "`10.0.0.1:80` is not KEY=VALUE",
    "did you mean `dst=10.0.0.1:80`?"
)]
#[case::protocol(
    "in=eth0 tcpp dst=10.0.0.1:80",
    9,
    "`tcpp` is not KEY=VALUE",
    "did you mean `tcp`?"
)]
#[case::twice("in=eth0 in=eth1 dst=10.0.0.1:80", 9, "in is given twice", "")]
#[case::port_twice("in=eth0 dst=10.0.0.1:80 dport=81", 25, "dport is given twice", "")]
#[case::state(
    "in=eth0 dst=10.0.0.1:80 state=NEWW",
    25,
    "`NEWW` is no value of state",
    "did you mean `NEW`?"
)]
#[case::port(
    "in=eth0 dst=10.0.0.1:80000",
    9,
    "`10.0.0.1:80000` is no value of dst",
    ""
)]
#[case::interface("in=eth+ dst=10.0.0.1:80", 1, "`eth+` is no value of in", "")]
#[case::both_ways(
    "in=eth0 out=lo dst=10.0.0.1:80",
    9,
    "does not come in and go out",
    "`in=`"
)]
#[case::inbound_owner("in=eth0 uid=5 dst=10.0.0.1:80", 9, "has no owner", "`out=`")]
#[case::neither("dst=10.0.0.1:80", 1, "neither comes in nor goes out", "`in=eth0`")]
#[case::no_destination("uid=5", 1, "where does it go?", "`dst=ADDRESS:PORT`")]
#[case::no_port("uid=5 dst=10.0.0.1", 1, "which port does it go to?", "`dport=PORT`")]
#[case::families(
    "uid=5 src=fd00::1 dst=10.0.0.1:80",
    7,
    "the source is no IPv4 address",
    "one family"
)]
#[case::icmp_port(
    "icmp in=eth0 dst=10.0.0.1:80",
    14,
    "protocol icmp has no ports",
    "tcp or udp"
)]
#[case::udp_flags("udp in=eth0 dst=10.0.0.1:80 flags=SYN", 29, "has no TCP flags", "tcp")]
#[case::empty("  ", 1, "no packet", "such as")]
fn a_word_that_is_wrong_is_pointed_at_with_a_repair(
    #[case] text: &str,
    #[case] column: usize,
    #[case] message: &str,
    #[case] help: &str,
) {
    let error = question(text, "packet 1", &Given::default()).expect_err("it is wrong");
    assert_eq!(error.column, column, "{error}");
    assert!(error.message.contains(message), "{error}");
    assert!(
        error.help.clone().unwrap_or_default().contains(help),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_words_make_it_panic(
        text in "((in|out|src|dst|sport|dport|uid|state|flags|mark|proto)=?[a-z0-9.:,x\\[\\]é]{0,9} ?){0,6}"
    ) {
        let _ = question(&text, "packet 1", &Given::default());
    }
}

/// mangle of Istio's TPROXY mode: what brings replies to a spoofed client back to the proxy.
const MARKS: &str = "*mangle\n-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark\n\
    -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark\nCOMMIT\n";

fn marked_reply(given: &Given) -> JourneyEnd {
    let rules = crate::rules::parse(MARKS, Family::V4, "test").unwrap_or_else(|e| panic!("{e}"));
    let text = "uid=1000 src=10.0.0.2:9080 dst=10.0.0.3:4000 state=ESTABLISHED connmark=1337";
    let asked = question(text, "packet 1", given).unwrap_or_else(|error| panic!("{error}"));
    journey(&rules, &asked.host, asked.packet).end
}

#[test]
fn a_reply_to_a_spoofed_client_comes_back_where_its_mark_is_routed_here() {
    let client = SocketAddr::from(([10, 0, 0, 3], 4000));
    let rules = crate::rules::parse(MARKS, Family::V4, "test").unwrap_or_else(|e| panic!("{e}"));
    let given = Given {
        local_marks: local_marks(&rules),
        ..Given::default()
    };
    assert_eq!(
        given.local_marks,
        [MarkValue {
            value: 1337,
            mask: u32::MAX
        }]
    );
    let here = JourneyEnd::Delivered {
        at: client,
        original: client,
    };
    assert_eq!(marked_reply(&given), here);
}

#[test]
fn a_reply_to_a_spoofed_client_leaves_the_pod_without_the_routing_rule() {
    let client = SocketAddr::from(([10, 0, 0, 3], 4000));
    assert_eq!(
        marked_reply(&Given::default()),
        JourneyEnd::Sent { to: client }
    );
}

#[rstest]
#[case::plain("1337", Some((1337, u32::MAX)))]
#[case::masked("0x111/0xfff", Some((0x111, 0xfff)))]
#[case::word("lots", None)]
#[case::half("1/", None)]
fn a_mark_is_read_as_ip_rule_writes_it(#[case] text: &str, #[case] mark: Option<(u32, u32)>) {
    let mark = mark.map(|(value, mask)| MarkValue { value, mask });
    assert_eq!(mark_value(text), mark);
}
