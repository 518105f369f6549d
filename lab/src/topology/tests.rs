//! Every complaint about a lab file: what, where, how to fix it.

use rstest::rstest;

use super::*;

const GOOD: &str = r#"name = "small"

[network]
bridge = "br0"
ipv4 = "10.1.0.0/24"
ipv6 = "fd01::/64"
node_ipv4 = "10.1.0.1"
node_ipv6 = "fd01::1"

[rules]
profile = "istio-1.13"

[[service]]
name = "web"
port = 80
ipv4 = "10.2.0.1"
ipv6 = "fd02::1"
endpoints = ["web-v1"]

[[pod]]
name = "web-v1"
ipv4 = "10.1.0.2"
ipv6 = "fd01::2"
sidecar = true
app = { port = 80, calls = ["web/x"] }

[[pod]]
name = "client"
ipv4 = "10.1.0.3"
ipv6 = "fd01::3"

[[flow]]
name = "in"
about = "a call"
from = "client/0:0"
to = "web-v1:80"
[flow.nat]
web-v1 = ["PREROUTING 1 > ISTIO_INBOUND 5"]
"#;

/// Replaces one text of the good file and returns the complaint's place, message and help.
fn complaint(old: &str, new: &str) -> (String, String) {
    assert!(GOOD.contains(old), "the good file has no `{old}`");
    let text = GOOD.replacen(old, new, 1);
    match Topology::parse(&text, "f.toml") {
        Ok(_) => panic!("no complaint about `{new}`"),
        Err(d) => (
            format!("{}:{} {}", d.line, d.column, d.message),
            d.help.unwrap_or_default(),
        ),
    }
}

fn complains(old: &str, new: &str, message: &str, help: &str) {
    let (what, how) = complaint(old, new);
    assert_eq!(what, message);
    assert!(how.contains(help), "help of `{what}` is `{how}`");
}

#[test]
fn the_good_file_is_good() {
    let topology = Topology::parse(GOOD, "f.toml").expect("valid");
    assert_eq!(topology.pods.len(), 2);
    assert_eq!(
        topology.flows[0].nat["web-v1"][0].to_string(),
        "PREROUTING 1 > ISTIO_INBOUND 5"
    );
    assert_eq!(topology.flows[0].answer, Answer::Status(200));
}

#[test]
fn an_unknown_key_is_refused_where_it_stands() {
    let (what, _) = complaint("sidecar = true", "sidecars = true");
    assert!(what.starts_with("24:1 unknown field `sidecars`"), "{what}");
}

#[test]
fn a_missing_key_is_named() {
    let (what, _) = complaint("ipv6 = \"fd01::2\"\n", "");
    assert!(what.contains("missing field `ipv6`"), "{what}");
}

#[test]
fn an_unknown_pod_in_a_flow_is_refused_with_the_nearest_name() {
    complains(
        "from = \"client/0:0\"",
        "from = \"clint/0:0\"",
        "35:8 there is no pod `clint`",
        "did you mean `client`?",
    );
    complains(
        "to = \"web-v1:80\"",
        "to = \"web-v2:80\"",
        "36:6 there is no pod or service `web-v2`",
        "did you mean `web-v1`?",
    );
    complains(
        "web-v1 = [",
        "web-v9 = [",
        "38:1 there is no pod `web-v9`",
        "did you mean `web-v1`?",
    );
}

#[test]
fn a_duplicate_address_names_its_first_owner() {
    complains(
        "ipv4 = \"10.1.0.3\"",
        "ipv4 = \"10.1.0.2\"",
        "29:8 10.1.0.2 belongs to pod `web-v1` already",
        "address of its own",
    );
    complains(
        "ipv6 = \"fd01::3\"",
        "ipv6 = \"fd01::1\"",
        "30:8 fd01::1 belongs to the node already",
        "address of its own",
    );
}

#[test]
fn an_address_outside_the_network_is_refused() {
    complains(
        "ipv4 = \"10.1.0.3\"",
        "ipv4 = \"10.9.0.3\"",
        "29:8 10.9.0.3 is not a host address of 10.1.0.0/24",
        "inside it",
    );
    complains(
        "ipv4 = \"10.1.0.3\"",
        "ipv4 = \"10.1.0.255\"",
        "29:8 10.1.0.255 is not a host address of 10.1.0.0/24",
        "inside it",
    );
}

#[test]
fn an_interface_name_the_kernel_would_refuse_is_refused_first() {
    complains(
        "bridge = \"br0\"",
        "bridge = \"a-bridge-far-too-long\"",
        "4:10 interface name `a-bridge-far-too-long` is 21 bytes long; the kernel takes 15",
        "at most 15",
    );
    let (what, _) = complaint("sidecar = true", "sidecar = true\ninterface = \"a b\"");
    assert!(what.contains("a character the kernel refuses"), "{what}");
}

#[test]
fn an_unknown_profile_is_refused_with_those_there_are() {
    complains(
        "profile = \"istio-1.13\"",
        "profile = \"istio-9\"",
        "11:11 there is no rule profile `istio-9`",
        "`istio-1.13`",
    );
}

#[test]
fn rules_come_from_one_place() {
    complains(
        "profile = \"istio-1.13\"",
        "",
        "10:1 `rules` needs one of `profile`, `file` and `text`",
        "istio-1.13",
    );
    let (what, _) = complaint(
        "profile = \"istio-1.13\"",
        "profile = \"istio-1.13\"\nfile_ipv6 = \"x\"",
    );
    assert!(what.contains("`file_ipv6` goes with `file`"), "{what}");
}

#[test]
fn a_sender_a_target_and_an_answer_say_how_they_are_written() {
    complains(
        "client/0:0",
        "client/me",
        "35:8 `me` is not a sender",
        "pod/UID:GID",
    );
    complains(
        "client/0:0",
        "client",
        "35:8 pod `client` has no app",
        "client/2000:2000",
    );
    complains(
        "web-v1:80",
        "web-v1",
        "36:6 `web-v1` has no port",
        "pod:port",
    );
    complains(
        "web-v1:80",
        "web-v1:0",
        "36:6 `0` is not a port",
        "pod:port",
    );
    complains(
        "to = \"web-v1:80\"",
        "to = \"web-v1:80\"\nanswer = \"yes\"",
        "37:10 `yes` is not an answer",
        "refused",
    );
    complains(
        "to = \"web-v1:80\"",
        "to = \"web-v1:80\"\npath = \"x\"",
        "37:8 `x` is not a request path",
        "start it with `/`",
    );
}

#[test]
fn a_traversal_is_chains_and_places() {
    complains(
        "> ISTIO_INBOUND 5",
        "> ISTIO_INBOUND",
        "38:11 `ISTIO_INBOUND` is not a chain and a place",
        "PREROUTING 1 > ISTIO_INBOUND 5",
    );
    complains(
        "PREROUTING 1",
        "PREROUTING 0",
        "38:11 `PREROUTING 0` is not a chain and a place",
        "place",
    );
}

#[test]
fn a_pod_without_rules_expects_no_traversal() {
    let (what, _) = complaint("web-v1 = [", "client = [");
    assert!(
        what.contains("pod `client` has no rules that could move"),
        "{what}"
    );
}

#[test]
fn names_are_unique_and_plain() {
    complains(
        "name = \"client\"",
        "name = \"web\"",
        "14:8 pod `web` has this name already",
        "one space of names",
    );
    complains(
        "name = \"client\"",
        "name = \"Client\"",
        "28:8 `Client` can't be a pod name",
        "lower-case",
    );
    complains(
        "name = \"client\"",
        "name = \"node\"",
        "28:8 `node` is taken: the lab uses it itself",
        "another name",
    );
}

#[test]
fn services_point_to_pods_that_serve_their_port() {
    complains(
        "endpoints = [\"web-v1\"]",
        "endpoints = [\"web-v3\"]",
        "18:14 there is no pod `web-v3`",
        "did you mean `web-v1`?",
    );
    complains(
        "endpoints = [\"web-v1\"]",
        "endpoints = [\"client\"]",
        "18:14 pod `client` does not serve port 80",
        "one that the apps behind it serve",
    );
    complains(
        "calls = [\"web/x\"]",
        "calls = [\"wen/x\"]",
        "25:29 there is no service `wen`",
        "did you mean `web`?",
    );
    complains(
        "calls = [\"web/x\"]",
        "calls = [\"web\"]",
        "25:29 call `web` has no path",
        "service/path",
    );
}

#[test]
fn a_gateway_is_no_sidecar() {
    let (what, _) = complaint(
        "sidecar = true",
        "sidecar = true\ngateway = { port = 81, service = \"web\" }",
    );
    assert!(
        what.contains("pod `web-v1` is both gateway and sidecar"),
        "{what}"
    );
}

#[test]
fn a_broken_toml_file_is_shown_where_it_breaks() {
    let (what, _) = complaint("bridge = \"br0\"", "bridge = ");
    assert!(what.starts_with("4:"), "{what}");
}

#[test]
fn ids_are_those_that_a_rootless_lab_maps() {
    let (what, how) = complaint("client/0:0", "client/4294967295:0");
    assert_eq!(what, "35:8 4294967295 is not a user or group of a lab");
    assert_eq!(how, "a lab has the ids 0 to 65535");
    let (what, _) = complaint("sidecar = true", "sidecar = true\nproxy_uid = 70000");
    assert!(
        what.ends_with("70000 is not a user or group of a lab"),
        "{what}"
    );
}

#[test]
fn ports_that_nobody_can_serve_are_refused() {
    let (what, _) = complaint("app = { port = 80,", "app = { port = 15006,");
    assert_eq!(what, "25:16 port 15006 is the proxy's own");
    let (what, _) = complaint("app = { port = 80,", "app = { port = 0,");
    assert_eq!(
        what,
        "25:16 port 0 can't be served: the kernel would choose another"
    );
}

#[test]
fn a_virtual_address_belongs_to_nobody() {
    let (what, _) = complaint("ipv4 = \"10.2.0.1\"", "ipv4 = \"10.1.0.9\"");
    assert_eq!(what, "16:8 10.1.0.9 is an address of the pod network");
}

#[rstest]
#[case::short("reviews:9080")]
#[case::long("reviews.default.svc.cluster.local:9080")]
fn a_service_is_asked_by_any_of_its_names(#[case] to: &str) {
    let (service, port) = ("reviews".to_owned(), 9080);
    assert_eq!(asked_to(to), Target::Service { service, port });
}

#[test]
fn a_host_outside_is_asked_by_the_address_that_dns_has_for_it() {
    let address = "192.0.2.10:80".parse().expect("an address");
    assert_eq!(asked_to("example.org:80"), Target::Address(address));
}

/// Where a person who names this in bookinfo sends to.
fn asked_to(to: &str) -> Target {
    let text = crate::builtin::lab_text("bookinfo").expect("it is in the binary");
    let topology = Topology::parse(text, "bookinfo.toml").expect("it is right");
    let asked = Asked {
        from: "details-v1",
        to,
        sender: None,
        path: "/",
        lookup_over: hoplab_proxies::record::Transport::Udp,
    };
    topology.asked(&asked).expect("it is there").to
}
