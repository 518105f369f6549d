//! The prediction against the lab file that people wrote, and against the proxy's own rules.

use std::collections::BTreeMap;

use hoplab_proxies::record::{Role, Transport};

use super::*;
use crate::{
    builtin,
    interception::Interception,
    rules::{self, Family, RuleSet},
    topology::{Flow, Topology},
};

fn bookinfo() -> Topology {
    let text = builtin::lab_text("bookinfo").expect("bookinfo travels in the binary");
    Topology::parse(text, "bookinfo.toml").expect("bookinfo is valid")
}

fn profile(family: Family) -> RuleSet {
    let text = builtin::rule_text("istio-1.13", family).expect("the profile travels in the binary");
    rules::parse(text, family, "istio-1.13").expect("the profile parses")
}

fn flow<'t>(topology: &'t Topology, name: &str) -> &'t Flow {
    topology.flow(name).expect("a flow of bookinfo")
}

/// The legs of a flow under rules of REDIRECT mode.
fn legs(topology: &Topology, rules: &RuleSet, flow: &Flow, turns: &mut Turns) -> Vec<Leg> {
    let interception = Interception::default();
    predict(&World::new(topology, rules, &interception), flow, turns)
}

const BEHIND: &str = r#"name = "small"
[rules]
profile = "istio-1.13"
[[service]]
name = "shop"
port = 80
endpoints = ["svc"]
[[pod]]
name = "pod"
sidecar = true
app = { port = 9080 }
default_route = false
[[pod]]
name = "svc"
sidecar = true
app = { port = 80 }
[[pod]]
name = "vm"
behind = "svc"
app = { port = 80 }
[[flow]]
name = "virtual"
from = "pod"
to = "shop:80"
[[flow]]
name = "neighbour"
from = "pod"
to = "svc:80"
[[flow]]
name = "from-vm"
from = "vm"
to = "pod:9080"
[[flow]]
name = "to-vm"
from = "svc/1337:1337"
to = "vm:80"
[[flow]]
name = "vm-itself"
from = "vm"
to = "localhost:80"
"#;

/// Where a flow of [`BEHIND`] ends, and how many crossings of rules it has; the link of the inner pod may be away.
fn end_of(name: &str, plugged: bool) -> (LegEnd, usize) {
    let mut topology = Topology::parse(BEHIND, "b.toml").expect("valid");
    let mut pods = topology.pods.iter_mut();
    let vm = pods.find(|it| it.name == "vm").expect("it is there");
    vm.plugged = plugged;
    let flow = flow(&topology, name).clone();
    let legs = legs(
        &topology,
        &profile(Family::V4),
        &flow,
        &mut Turns::default(),
    );
    (legs[0].end.clone(), legs[0].crossings().count())
}

#[rstest::rstest]
#[case::outside_the_pod_network("virtual", true, "pod")]
#[case::without_a_link("from-vm", false, "vm")]
fn without_a_route_no_packet_is_made_and_no_rule_is_asked(
    #[case] flow: &str,
    #[case] plugged: bool,
    #[case] pod: &str,
) {
    let pod = pod.to_owned();
    assert_eq!(end_of(flow, plugged), (LegEnd::Unrouted { pod }, 0));
}

#[rstest::rstest]
#[case::on_the_link("neighbour", true)]
#[case::with_a_link("from-vm", true)]
#[case::to_it("to-vm", true)]
#[case::to_itself_without_a_link("vm-itself", false)]
fn with_a_route_it_arrives(#[case] flow: &str, #[case] plugged: bool) {
    let (end, _) = end_of(flow, plugged);
    assert!(matches!(end, LegEnd::Accepted { .. }), "{end:?}");
}

#[test]
fn what_becomes_of_a_packet_to_a_pod_without_a_link_is_not_known() {
    let (end, _) = end_of("to-vm", false);
    let why = "vm has no link here".to_owned();
    assert_eq!(end, LegEnd::Unknown { why });
}

/// Chain and place of every nat rule each pod's connections move, one list per traversal, sorted.
fn traversals(legs: &[Leg]) -> BTreeMap<String, Vec<Vec<(String, u32)>>> {
    let mut pods: BTreeMap<String, Vec<Vec<(String, u32)>>> = BTreeMap::new();
    for crossing in legs.iter().flat_map(Leg::crossings) {
        for path in crossing.nat_paths() {
            let moved = path.into_iter().map(|r| (r.chain, r.ordinal)).collect();
            pods.entry(crossing.pod.clone()).or_default().push(moved);
        }
    }
    pods.values_mut().for_each(|t| t.sort());
    pods
}

fn what_people_expect(family: Family) {
    let (topology, rules) = (bookinfo(), profile(family));
    let mut turns = Turns::default();
    for flow in &topology.flows {
        let mut expected: BTreeMap<String, Vec<Vec<(String, u32)>>> = BTreeMap::new();
        for (pod, traversals) in &flow.nat {
            let mut rules: Vec<_> = traversals.iter().map(|t| t.rules.clone()).collect();
            rules.sort();
            expected.insert(pod.clone(), rules);
        }
        let legs = legs(&topology, &rules, flow, &mut turns);
        assert_eq!(traversals(&legs), expected, "flow {}", flow.name);
    }
}

#[test]
fn the_model_predicts_what_the_lab_file_expects_of_every_ipv4_flow() {
    what_people_expect(Family::V4);
}

#[test]
fn the_model_predicts_what_the_lab_file_expects_of_every_ipv6_flow() {
    what_people_expect(Family::V6);
}

#[test]
fn a_call_through_the_gateway_opens_its_connections_in_causal_order() {
    let topology = bookinfo();
    let legs = legs(
        &topology,
        &profile(Family::V4),
        flow(&topology, "ingress-reviews-v1"),
        &mut Turns::default(),
    );
    let openers: Vec<String> = legs
        .iter()
        .map(|l| format!("{} {:?}", l.opener.pod, l.opener.role))
        .collect();
    assert_eq!(
        openers,
        [
            "client App",
            "ingress Proxy",
            "productpage-v1 Proxy",
            "productpage-v1 App",
            "productpage-v1 Proxy",
            "details-v1 Proxy",
            "productpage-v1 App",
            "productpage-v1 Proxy",
            "reviews-v1 Proxy",
        ]
    );
    let parents: Vec<Option<usize>> = legs.iter().map(|l| l.parent).collect();
    assert_eq!(
        parents,
        [
            None,
            Some(0),
            Some(1),
            Some(2),
            Some(3),
            Some(4),
            Some(2),
            Some(6),
            Some(7)
        ]
    );
}

#[test]
fn a_proxy_takes_the_endpoints_of_a_service_in_turn() {
    let topology = bookinfo();
    let mut turns = Turns::default();
    let mut reviews = Vec::new();
    for _ in 0..4 {
        let legs = legs(
            &topology,
            &profile(Family::V4),
            flow(&topology, "ingress-reviews-v1"),
            &mut turns,
        );
        let ends = legs
            .iter()
            .filter(|l| l.end.pod().is_some_and(|p| p.starts_with("reviews")));
        reviews.push(
            ends.map(|l| l.end.pod().unwrap_or("").to_string())
                .next()
                .unwrap_or_default(),
        );
    }
    assert_eq!(
        reviews,
        ["reviews-v1", "reviews-v2", "reviews-v3", "reviews-v1"]
    );
}

#[test]
fn without_the_return_for_127_0_0_6_the_proxy_meets_itself_and_refuses() {
    let topology = bookinfo();
    let rules = profile(Family::V4);
    let first = rules::RuleId::new(Family::V4, rules::Table::Nat, "ISTIO_OUTPUT", 1);
    let legs = legs(
        &topology,
        &rules.without(&first),
        flow(&topology, "outside-to-reviews"),
        &mut Turns::default(),
    );
    assert_eq!(
        legs.len(),
        2,
        "the proxy does not go round again: {legs:#?}"
    );
    let end = &legs[1].end;
    assert!(
        matches!(
            end,
            LegEnd::Accepted {
                listener: Listener::Inbound,
                refused_as_loop: true,
                ..
            }
        ),
        "{end:?}"
    );
}

#[test]
fn the_admin_port_is_reached_by_loopback_only() {
    let topology = bookinfo();
    let pod = topology.pod("reviews-v1").expect("a pod of bookinfo");
    let at = |address: &str| {
        let address = address.parse().expect("a literal");
        listener_at(pod, address, Transport::Tcp, &Interception::default())
    };
    assert_eq!(at("127.0.0.1:15000"), Some(Listener::Admin));
    assert_eq!(at("10.77.0.13:15000"), None);
    assert_eq!(at("10.77.0.13:15008"), None);
    assert_eq!(at("10.77.0.13:9080").map(Listener::role), Some(Role::App));
}

mod modes;
mod node;
