//! What of two sets is called different.

use std::net::SocketAddr;

use rstest::rstest;

use super::*;
use crate::behaviour::{Arrival, Place};

#[test]
fn the_proxy_of_linkerd_1_calling_its_own_pod_is_all_that_differs() {
    let found = compared(&profile("linkerd"), &profile("linkerd-1"));
    assert_eq!(
        patterns(&found),
        [
            "IPv4 TCP from the pod to the pod, any port but 4190, 4191, 4567, 4568, sent by user 2102 and any group"
        ]
    );
    let decided = found.groups[0].shown.b.decided.as_ref().expect("a rule");
    assert_eq!(decided.rule.to_string(), "nat PROXY_INIT_OUTPUT 1");
    assert!(
        decided.text.contains(" -j PROXY_INIT_REDIRECT"),
        "{}",
        decided.text
    );
}

#[test]
fn since_istio_1_18_the_proxy_calls_the_tunnel_port_of_its_own_pod_directly() {
    let found = compared(&profile("istio-1.13"), &profile("istio"));
    assert_eq!(
        patterns(&found),
        ["IPv4 TCP from the pod to the pod, port 15008, sent by user 1337 and any group"]
    );
    let Arrival { place, port, .. } = match found.groups[0].shown.a.end {
        SeenEnd::Reached(arrival) => arrival,
        ref other => panic!("{other}"),
    };
    assert_eq!((place, port), (Place::Pod, 15006));
}

#[rstest]
#[case::native_nft("istio", "istio-nft")]
#[case::generations_without_a_difference_by_default("istio-1.25", "istio-1.18")]
#[case::itself("istio-tproxy", "istio-tproxy")]
fn sets_that_do_the_same_are_alike(#[case] a: &str, #[case] b: &str) {
    let found = compared(&profile(a), &profile(b));
    assert_eq!(words(&found), Vec::<String>::new());
    assert!(found.flows > 20, "{} flows", found.flows);
}

#[rstest]
#[case::a_port("-p tcp --dport 22", "-p tcp --dport 23")]
#[case::the_end_of_a_range("-p tcp --dport 100:200", "-p tcp --dport 100:199")]
#[case::a_list(
    "-p tcp -m multiport --dports 1,2,3",
    "-p tcp -m multiport --dports 1,2"
)]
#[case::a_network("-d 10.0.0.0/8 -p tcp", "-d 10.0.0.0/9 -p tcp")]
#[case::the_other_side_of_it("! -d 10.0.0.0/8 -p tcp", "-d 10.0.0.0/8 -p tcp")]
#[case::a_source("-s 127.0.0.6/32 -p tcp", "-s 127.0.0.7/32 -p tcp")]
#[case::a_user("-p tcp -m owner --uid-owner 7", "-p tcp -m owner --uid-owner 8")]
#[case::users("-p tcp -m owner --uid-owner 7-9", "-p tcp -m owner --uid-owner 7-10")]
#[case::a_group("-p tcp -m owner --gid-owner 7", "-p tcp -m owner ! --gid-owner 7")]
#[case::an_interface_to_leave_by("-o lo -p tcp", "! -o lo -p tcp")]
#[case::a_mark("-p tcp -m mark --mark 0x1", "-p tcp -m mark --mark 0x2")]
#[case::a_protocol("-p tcp", "-p udp")]
#[case::nothing_at_all("-p tcp", "-p icmp")]
fn a_rule_that_asks_for_something_else_is_found(#[case] one: &str, #[case] other: &str) {
    let set = |asks: &str| {
        let text = format!(
            "*nat\n-A OUTPUT {asks} -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\n-A OUTPUT -p udp -j REDIRECT --to-ports 15053\nCOMMIT\n"
        );
        subject(asks, &text)
    };
    let found = compared(&set(one), &set(other));
    assert!(!found.groups.is_empty(), "{one} against {other}");
    let same = compared(&set(one), &set(one));
    assert!(same.groups.is_empty(), "{same:#?}");
}

#[test]
fn a_kernel_that_does_something_else_is_a_disagreement() {
    let rules = profile("istio");
    let (stage, choice) = chosen(&rules, &rules);
    let flow = &choice.flows[0];
    let right = obedient(course(&rules, &stage, flow));
    assert_eq!(right.disagreement(), None);

    let mut elsewhere = right.clone();
    elsewhere.seen.end = SeenEnd::Reached(Arrival {
        place: Place::Pod,
        port: 1,
        local: SocketAddr::new(flow.to.ip(), 1),
        original: Some(flow.to),
    });
    assert!(elsewhere.disagreement().is_some());

    let mut another_way = right.clone();
    another_way.seen.hops.pop();
    another_way.seen.hops.retain(|hop| hop.rules.is_empty());
    let (model, kernel) = another_way.disagreement().expect("no rule matched");
    assert_eq!(kernel, "no rule matched");
    assert_ne!(model, kernel);
}
