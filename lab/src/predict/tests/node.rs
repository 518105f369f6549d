//! Legs by way of a node with the rules of kube-proxy.

use std::net::SocketAddr;

use rstest::rstest;

use super::*;
use crate::{kube_proxy, topology::NODE};

const LAB: &str = r#"
name = "t"
kube_proxy = true

[rules]
profile = "istio-1.13"

[dns]

[[service]]
name = "shop"
port = 80
endpoints = ["one"]

[[service]]
name = "pair"
port = 80
endpoints = ["one", "two"]

[[pod]]
name = "one"
app = { port = 80 }

[[pod]]
name = "two"
app = { port = 80 }

[[flow]]
name = "to-service"
from = "two"
to = "shop:80"

[[flow]]
name = "to-itself"
from = "one"
to = "shop:80"

[[flow]]
name = "to-pair"
from = "one/7:7"
to = "pair:80"

[[flow]]
name = "wrong-port"
from = "two"
to = "shop:81"

[[flow]]
name = "from-node"
from = "node"
to = "shop:80"

[[flow]]
name = "lookup"
from = "two"
to = "dns"
lookup = "shop"
"#;

/// The first leg of a flow, where chance picked an endpoint of `pair`.
fn leg(family: Family, name: &str, picked: Option<&str>) -> Leg {
    let topology = Topology::parse(LAB, "t.toml").expect("valid");
    let text = &kube_proxy::texts(&topology)[&family];
    let node = rules::parse(text, family, "kube-proxy").expect("rules");
    let (pods, interception) = (RuleSet::empty(family), Interception::default());
    let at = |ip| SocketAddr::new(ip, 80);
    let picked = picked.map(|pod| {
        let vip = topology.service("pair").expect("it is there").vip;
        let pod = topology.pod(pod).expect("it is there").addr;
        (at(vip.of(family)), at(pod.of(family)))
    });
    let world = World::new(&topology, &pods, &interception)
        .with_own([(NODE, &node, &interception)].into_iter())
        .picking(picked.into_iter().collect());
    let legs = predict(&world, flow(&topology, name), &mut Turns::default());
    legs.into_iter().next().expect("a leg")
}

fn nat_of_node(leg: &Leg) -> Vec<String> {
    let node = leg.node.as_ref().expect("it comes through the node");
    let moved = node.first.moved().into_iter();
    moved.map(|it| it.short()).collect()
}

#[rstest]
fn a_pod_without_rules_reaches_a_vip_and_is_seen_with_its_own_address(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let leg = leg(family, "to-service", None);
    assert_eq!(leg.end.pod(), Some("one"));
    assert_eq!(leg.seen_from, leg.opener.source);
    let chain = kube_proxy::service_chain("shop");
    let moved = nat_of_node(&leg);
    assert!(moved.contains(&format!("{chain} 2")), "{moved:?}");
    assert!(!moved.contains(&"KUBE-MARK-MASQ 1".to_owned()), "{moved:?}");
}

#[rstest]
fn a_pod_that_calls_itself_by_a_vip_is_seen_with_the_address_of_the_node(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let leg = leg(family, "to-itself", None);
    assert_eq!(leg.end.pod(), Some("one"));
    let topology = Topology::parse(LAB, "t.toml").expect("valid");
    assert_eq!(leg.seen_from, topology.network.node.of(family));
    assert!(nat_of_node(&leg).contains(&"KUBE-POSTROUTING 3".to_owned()));
}

#[rstest]
#[case::the_first("one", 2)]
#[case::the_other("two", 3)]
fn of_two_endpoints_the_one_that_chance_picked_is_followed(#[case] pod: &str, #[case] place: u32) {
    let leg = leg(Family::V4, "to-pair", Some(pod));
    assert_eq!(leg.end.pod(), Some(pod));
    let rule = format!("{} {place}", kube_proxy::service_chain("pair"));
    assert!(nat_of_node(&leg).contains(&rule));
}

#[test]
fn without_an_observation_chance_is_not_predicted() {
    let leg = leg(Family::V4, "to-pair", None);
    assert!(matches!(&leg.end, LegEnd::Unknown { why } if why.contains("statistic")));
}

#[test]
fn what_has_no_route_comes_to_the_first_hook_of_the_node_and_leaves_no_entry() {
    let leg = leg(Family::V4, "wrong-port", None);
    assert_eq!(leg.end, LegEnd::Unreachable);
    assert_eq!(nat_of_node(&leg), ["PREROUTING 1"]);
    assert!(!leg.node.expect("it comes there").tracked);
}

#[test]
fn the_node_itself_has_no_route_to_a_vip_and_its_rules_are_not_asked() {
    let leg = leg(Family::V4, "from-node", None);
    assert_eq!(leg.end, LegEnd::Unreachable);
    assert_eq!(leg.crossings().count(), 0);
}

#[test]
fn a_lookup_ends_in_the_node_behind_its_rules() {
    let leg = leg(Family::V4, "lookup", None);
    assert_eq!(leg.end.pod(), Some(NODE));
    assert_eq!(nat_of_node(&leg), ["PREROUTING 1"]);
}
