//! What a pod can be: its ports, its groups, the pod it is behind; and the complaints about them.

use rstest::rstest;

use super::*;
use crate::rules::Family;

const GOOD: &str = r#"name = "small"

[rules]
profile = "istio-1.13"

[[service]]
name = "shop"
port = 8081
endpoints = ["pod"]

[[pod]]
name = "pod"
sidecar = true
proxy_groups = [1337]
app = { ports = [9080, 8081] }

[[pod]]
name = "vm"
behind = "pod"
host_interface = "vnet0"

[[flow]]
name = "ask"
from = "vm/0:0+1337"
to = "pod:8081"
seen_port = "kept"
"#;

fn good() -> Topology {
    Topology::parse(GOOD, "f.toml").expect("valid")
}

#[test]
fn an_app_serves_every_port_it_names_and_a_service_may_be_any_of_them() {
    let topology = good();
    let app = topology.pods[0].app.as_ref().expect("it has one");
    assert_eq!(app.ports, [9080, 8081]);
}

#[test]
fn a_sender_is_written_as_it_was_read_with_its_supplementary_group() {
    let from = &good().flows[0].from;
    let group = Some(1337);
    let (uid, gid) = (0, 0);
    assert_eq!(from.sender, Sender::As { uid, gid, group });
    assert_eq!(from.to_string(), "vm/0:0+1337");
}

#[test]
fn what_a_pod_behind_another_sends_comes_to_that_one_first_and_so_does_what_it_gets() {
    let topology = good();
    let pod = |name| topology.pod(name).expect("it is there");
    let (outer, inner) = (pod("pod"), pod("vm"));
    let (outer_ip, inner_ip) = (outer.addr.of(Family::V4), inner.addr.of(Family::V4));
    let elsewhere = "198.51.100.7".parse().expect("literal");
    let hop = |from, to| {
        let next = topology.next_hop(from, to);
        next.map(|(pod, by)| format!("{} by {by}", pod.name))
    };
    let to_outer_behind = Some("pod by vnet0".to_owned());
    assert_eq!(hop(Some(inner), elsewhere), to_outer_behind);
    assert_eq!(hop(Some(inner), outer_ip), to_outer_behind);
    assert_eq!(hop(Some(outer), elsewhere), None);
    assert_eq!(hop(Some(outer), inner_ip), Some("vm by eth0".to_owned()));
    assert_eq!(hop(None, inner_ip), Some("pod by eth0".to_owned()));
    assert!(outer.relays && !inner.relays);
}

#[rstest]
#[case::two_ways_to_say_ports(
    "{ ports = [9080, 8081] }",
    "{ port = 9080, ports = [8081] }",
    "15:7 an app has one of `port` and `ports`"
)]
#[case::no_port(
    "{ ports = [9080, 8081] }",
    "{ uid = 1 }",
    "15:7 an app has one of `port` and `ports`"
)]
#[case::no_port_in_the_list("[9080, 8081]", "[]", "15:17 an app serves at least one port")]
#[case::a_port_twice("[9080, 8081]", "[8081, 8081]", "15:24 port 8081 stands here twice")]
#[case::a_port_of_the_proxy("[9080, 8081]", "[8081, 15006]", "15:24 port 15006 is the proxy's own")]
#[case::a_service_of_another_port(
    "[9080, 8081]",
    "[9080]",
    "9:14 pod `pod` does not serve port 8081"
)]
#[case::a_group_too_large("[1337]", "[70000]", "14:17 70000 is not a user or group of a lab")]
#[case::a_sender_with_half_a_group("0:0+1337", "0:0+", "24:8 `0:0+` is not a sender")]
#[case::a_port_that_is_lost("\"kept\"", "\"lost\"", "26:13 `lost` is not what becomes of a port")]
#[case::no_time_to_wait(
    "seen_port = \"kept\"",
    "give_up_ms = 0",
    "26:14 0 ms is no time to wait"
)]
#[case::an_address_for_no_proxy(
    "seen_port = \"kept\"",
    "source = \"pod\"",
    "26:10 only a proxy sends with the address of another pod"
)]
#[case::an_address_and_a_port(
    "\"vm/0:0+1337\"\nto = \"pod:8081\"",
    "\"pod/proxy\"\nto = \"pod:8081\"\nsource = \"vm\"\nsource_port = 1",
    "26:10 an address of another pod goes with a new request, from any port"
)]
#[case::seen_of_nothing(
    "seen_port = \"kept\"",
    "answer = \"timeout\"\nseen_port = \"kept\"",
    "27:13 nobody sees a connection that is not made"
)]
#[case::rules_without_a_sidecar(
    "behind = \"pod\"",
    "rules = { profile = \"kuma\" }",
    "19:9 pod `vm` has rules and no sidecar"
)]
#[case::a_variant_of_no_pods_own_rules(
    "[[flow]]",
    "[[variant]]\nname = \"v\"\npod = \"pod\"\nedit = [\"-D OUTPUT 1\"]\nflows = [\"ask\"]\n[[flow]]",
    "24:7 pod `pod` has the lab's rules"
)]
#[case::behind_nobody("behind = \"pod\"", "behind = \"pot\"", "19:10 there is no pod `pot`")]
#[case::behind_itself(
    "behind = \"pod\"",
    "behind = \"vm\"",
    "19:10 pod `vm` can't have a pod behind it"
)]
#[case::behind_with_a_proxy(
    "host_interface",
    "sidecar = true\napp = { port = 80 }\nhost_interface",
    "19:10 pod `vm` is behind another and has a proxy"
)]
#[case::an_interface_that_is_there(
    "\"vnet0\"",
    "\"eth0\"",
    "20:18 `eth0` is an interface of pod `pod` already"
)]
fn what_a_pod_can_not_be_is_told_where_it_stands(
    #[case] old: &str,
    #[case] new: &str,
    #[case] complaint: &str,
) {
    assert!(GOOD.contains(old), "the good file has no `{old}`");
    let text = GOOD.replacen(old, new, 1);
    let d = Topology::parse(&text, "f.toml").expect_err("it is refused");
    assert_eq!(format!("{}:{} {}", d.line, d.column, d.message), complaint);
    assert!(d.help.is_some(), "no help with: {complaint}");
}
