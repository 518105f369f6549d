//! Every row of "Which flow meets which rule".

use super::*;

/// Asserts the rules that move and the port the connection is turned to.
#[track_caller]
fn meets(pick: impl Fn(Cast) -> (Hook, Packet), rules: &[&str], port: Option<u16>) {
    for family in [Family::V4, Family::V6] {
        let traversal = ask(&istio(family), &pick(cast(family)));
        let moved: Vec<String> = traversal.moved().iter().map(RuleId::short).collect();
        assert_eq!(moved, rules, "{family}");
        let redirected = match &traversal.decided {
            Outcome::Redirected { ports, .. } => ports.map(|it| it.first()),
            Outcome::Accepted {
                by: By::Policy(chain),
            } if chain == traversal.hook.chain() => None,
            other => panic!("{other}"),
        };
        assert_eq!(redirected, port, "{family}");
    }
}

#[test]
fn a_client_is_turned_to_the_inbound_listener() {
    let rules = ["PREROUTING 1", "ISTIO_INBOUND 5", "ISTIO_IN_REDIRECT 1"];
    meets(|it| it.inbound(9080), &rules, Some(15006));
}

#[test]
fn the_proxys_inbound_hop_returns_by_its_source() {
    let hop = |it: Cast| it.outbound(it.passthrough, it.pod, 9080, PROXY);
    meets(hop, &["OUTPUT 1", "ISTIO_OUTPUT 1"], None);
}

#[test]
fn the_tunnel_port_is_left_alone() {
    meets(
        |it| it.inbound(15008),
        &["PREROUTING 1", "ISTIO_INBOUND 1"],
        None,
    );
}

#[test]
fn the_prometheus_port_is_left_alone() {
    meets(
        |it| it.inbound(15090),
        &["PREROUTING 1", "ISTIO_INBOUND 2"],
        None,
    );
}

#[test]
fn the_readiness_port_is_left_alone() {
    meets(
        |it| it.inbound(15021),
        &["PREROUTING 1", "ISTIO_INBOUND 3"],
        None,
    );
}

#[test]
fn the_agent_port_is_left_alone() {
    meets(
        |it| it.inbound(15020),
        &["PREROUTING 1", "ISTIO_INBOUND 4"],
        None,
    );
}

#[test]
fn the_app_calling_another_pod_is_turned_to_the_outbound_listener() {
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, APP);
    meets(
        call,
        &["OUTPUT 1", "ISTIO_OUTPUT 9", "ISTIO_REDIRECT 1"],
        Some(15001),
    );
}

#[test]
fn the_proxy_calling_another_pod_goes_out() {
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, PROXY);
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 4"], None);
}

#[test]
fn the_app_calling_its_own_pod_bypasses_the_proxy() {
    let call = |it: Cast| it.outbound(it.pod, it.pod, 9080, APP);
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 3"], None);
}

#[test]
fn the_proxy_calling_its_own_pod_is_turned_to_its_inbound_listener() {
    let call = |it: Cast| it.outbound(it.pod, it.pod, 9080, PROXY);
    meets(
        call,
        &["OUTPUT 1", "ISTIO_OUTPUT 2", "ISTIO_IN_REDIRECT 1"],
        Some(15006),
    );
}

#[test]
fn the_app_calling_localhost_is_left_alone() {
    let call = |it: Cast| it.outbound(it.localhost, it.localhost, 9080, APP);
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 3"], None);
}

#[test]
fn the_proxy_calling_localhost_is_left_alone() {
    let call = |it: Cast| it.outbound(it.localhost, it.localhost, 9080, PROXY);
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 4"], None);
}

#[test]
fn another_user_in_the_proxys_group_goes_out() {
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, (0, 1337));
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 7"], None);
}

#[test]
fn an_app_that_runs_as_the_proxys_user_is_unmeshed() {
    let call = |it: Cast| it.outbound(it.pod, it.other, 9080, (1337, 1000));
    meets(call, &["OUTPUT 1", "ISTIO_OUTPUT 4"], None);
}

#[test]
fn a_client_of_the_outbound_listener_is_turned_to_the_inbound_one() {
    let rules = ["PREROUTING 1", "ISTIO_INBOUND 5", "ISTIO_IN_REDIRECT 1"];
    meets(|it| it.inbound(15001), &rules, Some(15006));
}

#[test]
fn udp_meets_no_rule() {
    let udp = |it: Cast| {
        let (hook, packet) = it.outbound(it.pod, it.other, 53, APP);
        (
            hook,
            Packet {
                protocol: crate::rules::Protocol::Udp,
                ..packet
            },
        )
    };
    meets(udp, &[], None);
}

#[test]
fn ipv6_is_not_asked_about_by_ipv4_rules() {
    let traversal = ask(&istio(Family::V4), &cast(Family::V6).inbound(9080));
    assert_eq!(
        (traversal.tried.len(), traversal.decided),
        (0, Outcome::Accepted { by: By::Nobody })
    );
}

#[test]
fn a_redirected_connection_lands_on_the_pod_or_on_loopback() {
    for family in [Family::V4, Family::V6] {
        let Cast { pod, localhost, .. } = cast(family);
        assert_eq!(
            redirect_landing(Hook::Prerouting, family, Some(pod)),
            Some(pod)
        );
        assert_eq!(redirect_landing(Hook::Prerouting, family, None), None);
        assert_eq!(
            redirect_landing(Hook::Output, family, Some(pod)),
            Some(localhost)
        );
        assert_eq!(redirect_landing(Hook::Postrouting, family, Some(pod)), None);
    }
    assert_eq!(
        redirect_landing(Hook::Prerouting, Family::V6, Some(cast(Family::V4).pod)),
        None
    );
}
