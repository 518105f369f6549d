//! The whole way of a connection through the hooks of a machine, and what marks and zones do on it.

use rstest::rstest;

use super::*;
use crate::rules::CtState;

fn way(rules: &RuleSet, (_, packet): (Hook, Packet)) -> Journey {
    journey(rules, &Host::new("eth0", cast(rules.family).pod), packet)
}

fn hooks(journey: &Journey) -> Vec<Hook> {
    journey.passages.iter().map(|it| it.hook).collect()
}

fn rules(text: &str) -> RuleSet {
    crate::rules::parse(text, Family::V4, "test").unwrap_or_else(|error| panic!("{error}"))
}

/// mangle of Istio's TPROXY mode, its inbound half.
const TPROXY: &str = "\
* mangle
-N ISTIO_DIVERT
-N ISTIO_TPROXY
-N ISTIO_INBOUND
-A ISTIO_DIVERT -j MARK --set-mark 1337
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
COMMIT
";

#[test]
fn a_redirected_client_is_delivered_to_the_proxy_and_remembers_where_it_went() {
    for family in [Family::V4, Family::V6] {
        let cast = cast(family);
        let journey = way(&istio(family), cast.inbound(9080));
        assert_eq!(hooks(&journey), [Hook::Prerouting, Hook::Input]);
        let (at, original) = (
            SocketAddr::new(cast.pod, 15006),
            SocketAddr::new(cast.pod, 9080),
        );
        assert_eq!(journey.end, JourneyEnd::Delivered { at, original });
    }
}

#[test]
fn an_outbound_call_turned_to_loopback_is_not_asked_about_by_nat_again() {
    let cast = cast(Family::V4);
    let journey = way(
        &istio(Family::V4),
        cast.outbound(cast.pod, cast.other, 80, APP),
    );
    let expected = [
        Hook::Output,
        Hook::Postrouting,
        Hook::Prerouting,
        Hook::Input,
    ];
    assert_eq!(hooks(&journey), expected);
    let asked_nat = |it: &Passage| it.tables.iter().any(|(table, _)| *table == Table::Nat);
    let asked: Vec<bool> = journey.passages.iter().map(asked_nat).collect();
    assert_eq!(asked, [true, true, false, false]);
    let at = SocketAddr::new(cast.localhost, 15001);
    let original = SocketAddr::new(cast.other, 80);
    assert_eq!(journey.end, JourneyEnd::Delivered { at, original });
}

#[test]
fn the_proxys_call_leaves_by_the_interface() {
    let cast = cast(Family::V4);
    let journey = way(
        &istio(Family::V4),
        cast.outbound(cast.pod, cast.other, 80, PROXY),
    );
    assert_eq!(hooks(&journey), [Hook::Output, Hook::Postrouting]);
    let to = SocketAddr::new(cast.other, 80);
    assert_eq!(journey.end, JourneyEnd::Sent { to });
}

#[test]
fn tproxy_hands_the_packet_over_marked_and_unchanged() {
    let cast = cast(Family::V4);
    let journey = way(&rules(TPROXY), cast.inbound(9080));
    let (at, original) = (
        SocketAddr::new(cast.pod, 15006),
        SocketAddr::new(cast.pod, 9080),
    );
    assert_eq!(journey.end, JourneyEnd::Delivered { at, original });
    let (_, mangle) = &journey.passages[0].tables[1];
    assert_eq!((mangle.left.mark, mangle.left.dst.port()), (1337, 9080));
}

#[test]
fn a_segment_of_a_known_connection_is_diverted() {
    let (hook, packet) = cast(Family::V4).inbound(9080);
    let state = CtState::Established;
    let packet = Packet { state, ..packet };
    let passage = pass(&rules(TPROXY), hook, &packet, false);
    let tables: Vec<Table> = passage.tables.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables, [Table::Raw, Table::Mangle]);
    assert_eq!(passage.tables[1].1.left.mark, 1337);
}

#[test]
fn connection_marks_are_saved_and_restored() {
    let set = rules(
        "*mangle\n-A PREROUTING -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff\n\
        -A OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark\nCOMMIT\n",
    );
    let (hook, packet) = cast(Family::V4).inbound(9080);
    let marked = evaluate(&set, Table::Mangle, hook, &packet.clone().marked(0x1539));
    assert_eq!((marked.left.mark, marked.left.connmark), (0x1539, 0x111));
    let reply = Packet {
        connmark: 0x111,
        ..packet
    };
    let restored = evaluate(&set, Table::Mangle, Hook::Output, &reply);
    assert_eq!(restored.left.mark, 0x111);
}

#[rstest]
#[case::invalid(CtState::Invalid)]
#[case::untracked(CtState::Untracked)]
fn a_packet_without_an_entry_has_no_connection_mark(#[case] state: CtState) {
    let set = rules(
        "*mangle\n-A OUTPUT -m connmark ! --mark 0x539 -j DROP\n-A OUTPUT -j CONNMARK --restore-mark\nCOMMIT\n",
    );
    let (_, packet) = cast(Family::V4).inbound(9080);
    let packet = Packet { state, ..packet }.marked(0x53a);
    let passed = evaluate(&set, Table::Mangle, Hook::Output, &packet);
    assert_eq!(passed.left.mark, 0x53a);
    assert!(matches!(passed.decided, Outcome::Accepted { .. }));
}

#[test]
fn the_first_zone_wins_and_every_zone_rule_counts() {
    let set = rules(
        "*raw\n-A OUTPUT -p udp -j CT --zone 1\n-A OUTPUT -j CT --zone 2\n-A OUTPUT -j NOTRACK\nCOMMIT\n",
    );
    let cast = cast(Family::V4);
    let (src, dst) = (
        SocketAddr::new(cast.pod, 4000),
        SocketAddr::new(cast.other, 53),
    );
    let traversal = evaluate(&set, Table::Raw, Hook::Output, &Packet::udp(src, dst));
    assert_eq!(traversal.moved().len(), 3);
    assert_eq!(
        (traversal.left.zone, traversal.left.state),
        (Some(1), CtState::New)
    );
}

#[test]
fn nat_is_not_asked_about_what_conntrack_does_not_see() {
    let set = rules(
        "*raw\n-A OUTPUT -j NOTRACK\nCOMMIT\n*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n",
    );
    let cast = cast(Family::V4);
    let journey = way(&set, cast.outbound(cast.pod, cast.other, 80, APP));
    assert_eq!(
        journey.end,
        JourneyEnd::Sent {
            to: SocketAddr::new(cast.other, 80)
        }
    );
}

#[test]
fn filter_sees_the_packet_nat_turned() {
    let set = rules(
        "*nat\n-A OUTPUT -p tcp -j DNAT --to-destination 10.0.0.9:81\nCOMMIT\n\
        *filter\n-A OUTPUT -p tcp --dport 81 -j REJECT\nCOMMIT\n",
    );
    let cast = cast(Family::V4);
    let journey = way(&set, cast.outbound(cast.pod, cast.other, 80, APP));
    let JourneyEnd::Gone(outcome) = journey.end else {
        panic!("{:?}", journey.end)
    };
    let expected = "rejected with icmp-port-unreachable by filter OUTPUT 1";
    assert_eq!(outcome.to_string(), expected);
}

#[test]
fn what_the_kernel_chooses_or_routes_by_mark_is_unknown() {
    let cast = cast(Family::V4);
    let range =
        rules("*nat\n-A OUTPUT -p tcp -j DNAT --to-destination 10.0.0.8-10.0.0.9\nCOMMIT\n");
    let journey = way(&range, cast.outbound(cast.pod, cast.other, 80, APP));
    let why = "the kernel picks one of 10.0.0.8-10.0.0.9".to_owned();
    assert_eq!(journey.end, JourneyEnd::Unknown(why));
    let mark = rules("*mangle\n-A PREROUTING -j MARK --set-mark 1\nCOMMIT\n");
    let (_, packet) = cast.inbound(80);
    let through = Packet {
        dst: SocketAddr::new(cast.other, 80),
        ..packet
    };
    let journey = way(&mark, (Hook::Prerouting, through));
    let why = "where mark 0x1 is routed is not known".to_owned();
    assert_eq!(journey.end, JourneyEnd::Unknown(why));
}

#[test]
fn an_unknown_condition_of_a_rule_that_does_nothing_does_not_matter() {
    let set =
        nat("-A OUTPUT -m limit --limit 1/s -j LOG\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\n");
    let cast = cast(Family::V4);
    let traversal = ask(&set, &cast.outbound(cast.pod, cast.other, 80, APP));
    assert!(matches!(traversal.decided, Outcome::Redirected { .. }));
    assert!(matches!(traversal.tried[0].result, TryResult::Unknown(_)));
}

#[test]
fn lists_flags_sockets_and_kinds_are_compared_as_the_kernel_does() {
    let set = nat(
        "-A OUTPUT -p tcp -m multiport ! --dports 53,80:90\n-A OUTPUT -p tcp ! --syn\n\
        -A OUTPUT -m owner ! --socket-exists\n-A OUTPUT -m connmark --mark 1\n\
        -A OUTPUT -m addrtype ! --src-type LOCAL\n-A OUTPUT -m addrtype --dst-type LOCAL -j DROP\n",
    );
    let cast = cast(Family::V4);
    let (hook, packet) = cast.outbound(cast.localhost, cast.other, 85, APP);
    let traversal = ask(&set, &(hook, packet));
    let reasons: Vec<String> = traversal
        .tried
        .iter()
        .map(|it| match &it.result {
            TryResult::Failed(mismatch) => mismatch.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "wanted destination port !53,80:90, had 85",
            "wanted tcp flags !FIN,SYN,RST,ACK SYN, had SYN",
            "wanted a socket none, had one",
            "wanted connection mark 0x1, had 0x0",
            "wanted kind of source !LOCAL, had LOCAL",
            "Unknown(\"the kind of destination 10.0.0.3 depends on the routes\")",
        ]
    );
}
