//! Why each rule did not match: every rule that can be passed over, at least once.

use super::*;

#[track_caller]
fn passed(pick: impl Fn(Cast) -> (Hook, Packet), chain: &str, ordinal: u32, v4: &str, v6: &str) {
    for (family, reason) in [(Family::V4, v4), (Family::V6, v6)] {
        let traversal = ask(&istio(family), &pick(cast(family)));
        let mismatch = traversal
            .mismatch(&id(family, chain, ordinal))
            .map(Mismatch::to_string);
        assert_eq!(
            mismatch.as_deref(),
            Some(reason),
            "{family} {chain} {ordinal}"
        );
    }
}

fn udp((hook, packet): (Hook, Packet)) -> (Hook, Packet) {
    (
        hook,
        Packet {
            protocol: crate::rules::Protocol::Udp,
            ..packet
        },
    )
}

#[test]
fn the_jumps_take_tcp_only() {
    let reason = "wanted protocol tcp, had udp";
    passed(|it| udp(it.inbound(9080)), "PREROUTING", 1, reason, reason);
    passed(
        |it| udp(it.outbound(it.pod, it.other, 53, APP)),
        "OUTPUT",
        1,
        reason,
        reason,
    );
}

#[test]
fn the_exempt_ports_are_not_the_apps() {
    for (ordinal, port) in [(1, 15008), (2, 15090), (3, 15021), (4, 15020)] {
        let reason = format!("wanted destination port {port}, had 9080");
        passed(
            |it| it.inbound(9080),
            "ISTIO_INBOUND",
            ordinal,
            &reason,
            &reason,
        );
    }
}

#[test]
fn rule_1_asks_for_the_source_first() {
    let call = |it: Cast| it.outbound(it.pod, it.pod, 9080, PROXY);
    passed(
        call,
        "ISTIO_OUTPUT",
        1,
        "wanted -s 127.0.0.6/32, had 10.0.0.2",
        "wanted -s ::6/128, had fd00::2",
    );
}

#[test]
fn rule_2_exempts_localhost_and_other_interfaces_and_users() {
    let call = |it: Cast| it.outbound(it.localhost, it.localhost, 9080, PROXY);
    passed(
        call,
        "ISTIO_OUTPUT",
        2,
        "wanted -d !127.0.0.1/32, had 127.0.0.1",
        "wanted -d !::1/128, had ::1",
    );
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, PROXY);
    passed(
        call,
        "ISTIO_OUTPUT",
        2,
        "wanted out lo, had eth0",
        "wanted out lo, had eth0",
    );
    let call = |it: Cast| it.outbound(it.pod, it.pod, 9080, APP);
    let reason = "wanted owner uid 1337, had 1000";
    passed(call, "ISTIO_OUTPUT", 2, reason, reason);
}

#[test]
fn rule_3_is_for_other_users() {
    let call = |it: Cast| it.outbound(it.localhost, it.localhost, 9080, PROXY);
    passed(
        call,
        "ISTIO_OUTPUT",
        3,
        "wanted owner uid !1337, had 1337",
        "wanted owner uid !1337, had 1337",
    );
}

#[test]
fn the_app_passes_rules_3_to_8_on_its_way_out() {
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, APP);
    for (ordinal, reason) in [
        (3, "wanted out lo, had eth0"),
        (4, "wanted owner uid 1337, had 1000"),
        (5, "wanted out lo, had eth0"),
        (6, "wanted out lo, had eth0"),
        (7, "wanted owner gid 1337, had 1000"),
    ] {
        passed(call, "ISTIO_OUTPUT", ordinal, reason, reason);
    }
    passed(
        call,
        "ISTIO_OUTPUT",
        8,
        "wanted -d 127.0.0.1/32, had 10.0.0.3",
        "wanted -d ::1/128, had fd00::3",
    );
}

#[test]
fn the_rules_that_are_catch_alls_are_passed_by_no_tcp_connection() {
    for family in [Family::V4, Family::V6] {
        let cast = cast(family);
        let addresses = PodAddresses {
            pod: cast.pod,
            other: cast.other,
        };
        let packets = interesting_packets(&istio(family), Table::Nat, addresses);
        let packets = packets.expect("they are few");
        let last = [
            ("ISTIO_INBOUND", 5),
            ("ISTIO_OUTPUT", 9),
            ("ISTIO_REDIRECT", 1),
            ("ISTIO_IN_REDIRECT", 1),
        ];
        for packet in &packets {
            let traversal = ask(&istio(family), packet);
            assert!(
                last.iter()
                    .all(|(chain, it)| traversal.mismatch(&id(family, chain, *it)).is_none())
            );
        }
    }
}
