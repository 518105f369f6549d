//! Bytes as the kernel sent them (Linux 6.18), and bytes that it never sends.

use proptest::prelude::*;
use rstest::rstest;

use crate::trace::{
    ChainName, ConntrackSeen, Header, Hook, LogEvent, NftEvent, NftKind, TableFamily, Verdict,
    wire::{Attributes, LineKind, TraceLine, messages, request},
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// `jump ISTIO_OUTPUT` by the rule with handle 4 of ip nat OUTPUT, with header and conntrack.
fn jump() -> Vec<u8> {
    let verdict = Attributes::new()
        .be32(1, -3i32 as u32)
        .text(2, "ISTIO_OUTPUT");
    let attributes = Attributes::new()
        .be32(15, 2)
        .be32(4, 3)
        .be32(6, 0x6ce3_00e6)
        .text(2, "OUTPUT")
        .text(1, "nat")
        .bytes(3, &4u64.to_be_bytes())
        .nested(5, verdict)
        .be32(14, 7)
        .be32(12, 1)
        .bytes(13, &hex("0304"))
        .bytes(8, &hex("4500003c3eb940004006fe007f0000017f000001"))
        .bytes(9, &hex("bdc2237a183c432500000000a002ffd7fe300000"))
        .be32(21, 8)
        .byte(19, 0)
        .be32(18, 0xeecd_ca42)
        .be32(20, 0x120);
    body(2, &attributes)
}

fn body(family: u8, attributes: &Attributes) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    body.extend(attributes.as_bytes());
    body
}

#[test]
fn a_trace_message_is_read_in_full() {
    let event = NftEvent::decode(&jump()).expect("the kernel sent it");
    let header = event.header.clone().expect("it has one");
    assert_eq!(
        header.to_string(),
        "127.0.0.1:48578 → 127.0.0.1:9082 tcp syn"
    );
    assert_eq!(
        (header.ip_id, header.length, header.hops_left),
        (Some(0x3eb9), 60, 64)
    );
    assert_eq!(header.tcp.expect("it is TCP").sequence, 0x183c_4325);
    let wanted = NftEvent {
        chain: ChainName {
            family: TableFamily::Ip,
            table: "nat".into(),
            chain: "OUTPUT".into(),
        },
        handle: Some(4),
        kind: NftKind::Rule(Verdict::Jump("ISTIO_OUTPUT".into())),
        id: 0x6ce3_00e6,
        header: Some(header),
        input: None,
        output: Some(1),
        mark: 7,
        conntrack: Some(ConntrackSeen {
            id: Some(0xeecd_ca42),
            reply: false,
            status: 0x120,
            state: 8,
        }),
    };
    assert_eq!(event, wanted);
}

#[test]
fn a_policy_has_no_verdict_attribute() {
    let attributes = Attributes::new().be32(4, 1).be32(6, 9).text(2, "INPUT");
    let attributes = attributes.text(1, "filter").be32(16, 0);
    let event = NftEvent::decode(&body(10, &attributes)).expect("it is complete");
    assert_eq!(event.kind, NftKind::Policy(Verdict::Drop));
    assert_eq!(event.chain.to_string(), "ip6 filter INPUT");
    assert_eq!((event.header, event.mark, event.conntrack), (None, 0, None));
}

#[rstest]
#[case::no_table(Attributes::new().be32(4, 1).be32(6, 9).text(2, "C").be32(16, 1), "it has no table")]
#[case::no_type(Attributes::new().be32(6, 9).text(2, "C").text(1, "t"), "it has no type")]
#[case::type_9(Attributes::new().be32(4, 9).be32(6, 9).text(2, "C").text(1, "t"), "type 9")]
#[case::no_verdict(Attributes::new().be32(4, 3).be32(6, 9).text(2, "C").text(1, "t"), "it has no verdict")]
#[case::short_id(Attributes::new().bytes(6, &[1]), "1 bytes where 4 belong")]
fn a_trace_message_that_lacks_something_is_refused(
    #[case] attributes: Attributes,
    #[case] why: &str,
) {
    let error = NftEvent::decode(&body(2, &attributes)).expect_err("it is not whole");
    assert_eq!(error.to_string(), format!("malformed trace message: {why}"));
}

#[test]
fn an_nflog_message_of_ip_tables_is_read_in_full() {
    let packet =
        "4500003c460540004006f6b47f0000017f000001c69223788738554b00000000a002ffd7fe3000000204ffd7";
    let attributes = Attributes::new()
        .bytes(1, &hex("08000300"))
        .text(10, "TRACE: nat:ISTIO_OUTPUT:rule:2 ")
        .be32(5, 1)
        .be32(11, 1000)
        .be32(14, 1337)
        .be32(12, 41)
        .bytes(9, &hex(packet));
    let event = LogEvent::decode(&body(2, &attributes)).expect("the kernel sent it");
    assert_eq!(event.hook, Some(Hook::Output));
    assert_eq!(
        (event.uid, event.gid, event.sequence),
        (Some(1000), Some(1337), Some(41))
    );
    assert_eq!((event.input, event.output, event.mark), (None, Some(1), 0));
    assert_eq!(
        event.header.to_string(),
        "127.0.0.1:50834 → 127.0.0.1:9080 tcp syn"
    );
    let line = TraceLine::parse(&event.prefix).expect("a line of TRACE");
    let wanted = ("nat", "ISTIO_OUTPUT", LineKind::Rule, 2);
    assert_eq!(
        (&line.table[..], &line.chain[..], line.kind, line.number),
        wanted
    );
}

#[rstest]
#[case("TRACE: mangle:PREROUTING:policy:1 ", Some(("mangle", "PREROUTING", LineKind::Policy, 1)))]
#[case("TRACE: nat:a:b:rule:7", Some(("nat", "a:b", LineKind::Return, 7)))]
#[case("hoplab-owner", None)]
#[case("TRACE: nat:OUTPUT:rule:", None)]
#[case("TRACE: nat:OUTPUT:comment:1", None)]
fn a_prefix_is_a_line_of_trace_or_not(
    #[case] prefix: &str,
    #[case] wanted: Option<(&str, &str, LineKind, u32)>,
) {
    let line = TraceLine::parse(prefix);
    let line = line
        .as_ref()
        .map(|it| (&it.table[..], &it.chain[..], it.kind, it.number));
    // A chain's name may hold a colon.
    let wanted = wanted.map(|(table, chain, kind, number)| match chain {
        "a:b" => (table, chain, LineKind::Rule, number),
        _ => (table, chain, kind, number),
    });
    assert_eq!(line, wanted);
}

#[rstest]
#[case(0, None, Verdict::Drop)]
#[case(1, None, Verdict::Accept)]
#[case(0x6f_0000, None, Verdict::Drop)]
#[case(0x2_0003, None, Verdict::Queue)]
#[case(-1, None, Verdict::Continue)]
#[case(-3, Some("C"), Verdict::Jump("C".into()))]
#[case(-4, Some("C"), Verdict::Goto("C".into()))]
#[case(-3, None, Verdict::Unknown(-3))]
#[case(-5, None, Verdict::Return)]
#[case(-9, None, Verdict::Unknown(-9))]
fn a_verdict_code_has_a_meaning_or_is_kept(
    #[case] code: i32,
    #[case] chain: Option<&str>,
    #[case] verdict: Verdict,
) {
    assert_eq!(Verdict::from_code(code, chain.map(str::to_owned)), verdict);
}

fn short_name() -> impl Strategy<Value = String> {
    "[A-Za-z][A-Za-z_0-9-]{0,27}"
}

prop_compose! {
    fn any_event()(
        family in prop_oneof![Just(1u8), Just(2), Just(10), Just(7)],
        (table, chain, target) in (short_name(), short_name(), short_name()),
        handle in proptest::option::of(any::<u64>()),
        code in -5i32..6,
        (id, mark, ct) in (any::<u32>(), any::<u32>(), proptest::option::of((any::<u32>(), any::<bool>()))),
        policy in any::<bool>(),
    ) -> (Vec<u8>, NftEvent) {
        let verdict = Attributes::new().be32(1, code as u32).text(2, &target);
        let mut attributes = Attributes::new().text(1, &table).text(2, &chain).be32(6, id);
        attributes = if policy { attributes.be32(4, 1).be32(16, code as u32) } else { attributes.be32(4, 3).nested(5, verdict) };
        if let Some(handle) = handle { attributes = attributes.bytes(3, &handle.to_be_bytes()); }
        if mark > 0 { attributes = attributes.be32(14, mark); }
        if let Some((id, reply)) = ct { attributes = attributes.be32(18, id).byte(19, reply.into()).be32(20, 4).be32(21, 2); }
        let kind = match policy {
            true => NftKind::Policy(Verdict::from_code(code, None)),
            false => NftKind::Rule(Verdict::from_code(code, Some(target))),
        };
        let conntrack = ct.map(|(id, reply)| ConntrackSeen { id: Some(id), reply, status: 4, state: 2 });
        let chain = ChainName { family: TableFamily::from_number(family), table, chain };
        (body(family, &attributes), NftEvent { chain, handle, kind, id, header: None, input: None, output: None, mark, conntrack })
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back((bytes, event) in any_event()) {
        prop_assert_eq!(NftEvent::decode(&bytes), Ok(event));
    }

    #[test]
    fn a_message_cut_off_anywhere_or_with_one_byte_changed_does_no_harm(at in 0usize..220, byte in any::<u8>()) {
        let whole = jump();
        let _ = NftEvent::decode(&whole[..at.min(whole.len())]);
        let mut changed = whole.clone();
        let at = at % whole.len();
        changed[at] = byte;
        let _ = NftEvent::decode(&changed);
        let _ = LogEvent::decode(&changed);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = NftEvent::decode(&bytes);
        let _ = LogEvent::decode(&bytes);
        let _ = Header::from_packet(&bytes);
        let _ = Header::from_trace(&bytes, &bytes);
        if let Ok(messages) = messages(&bytes) {
            prop_assert!(messages.len() <= bytes.len() / 16);
        }
    }

    #[test]
    fn messages_of_a_datagram_come_apart_again(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5)) {
        let parts = bodies.iter().enumerate();
        let sent: Vec<Vec<u8>> = parts.map(|(n, body)| request(17, 5, n as u32, 1, 2, &Attributes::new().bytes(3, body))).collect();
        let datagram = sent.concat();
        let read = messages(&datagram).expect("whole messages");
        prop_assert_eq!(read.len(), bodies.len());
        for (n, (message, body)) in read.iter().zip(&bodies).enumerate() {
            prop_assert_eq!((message.kind, message.flags, message.sequence), (17, 5, n as u32));
            prop_assert_eq!(&message.body[8..8 + body.len()], &body[..]);
        }
    }

    #[test]
    fn a_line_of_trace_reads_back(table in "[a-z]{1,8}", chain in "[!-~]{1,28}", number in 1u32..) {
        let line = TraceLine::parse(&format!("TRACE: {table}:{chain}:return:{number} "));
        let wanted = TraceLine { table, chain, kind: LineKind::Return, number };
        prop_assert_eq!(line, Some(wanted));
    }
}
