//! Services with and without an address, and the complaints about them.

use rstest::rstest;

use super::*;
use crate::rules::Family;

const GOOD: &str = r#"name = "small"
kube_proxy = true

[rules]
profile = "istio-1.13"

[[service]]
name = "peers"
port = 80
cluster_ip = "None"
endpoints = ["one", "two"]

[[service]]
name = "shop"
port = 80
endpoints = ["one"]

[[pod]]
name = "one"
app = { port = 80 }

[[pod]]
name = "two"
app = { port = 80 }
"#;

fn addresses(name: &str) -> Vec<String> {
    let topology = Topology::parse(GOOD, "f.toml").expect("valid");
    let found = topology.resolve(name).expect("a name");
    let of_family = found.iter().map(|it| it.of(Family::V4).to_string());
    of_family.collect()
}

#[rstest]
#[case("peers")]
#[case("peers.default")]
#[case("peers.default.svc")]
#[case("peers.default.svc.cluster.local")]
fn a_headless_service_is_known_by_every_name_and_has_the_addresses_of_its_pods(#[case] name: &str) {
    assert_eq!(addresses(name), ["10.77.1.2", "10.77.2.2"]);
}

#[test]
fn a_headless_service_takes_no_address_from_those_that_have_one() {
    assert_eq!(addresses("shop"), ["10.96.0.1"]);
}

#[rstest]
#[case::another_word("\"None\"", "\"10.96.0.9\"", "is not \"None\"")]
#[case::an_address(
    "\"None\"",
    "\"None\"\nipv4 = \"10.96.0.9\"",
    "has no address of its own"
)]
#[case::a_port_that_nobody_serves(
    "port = 80\ncluster",
    "port = 81\ncluster",
    "does not serve port 81"
)]
#[case::a_name_that_is_taken("name = \"peers\"", "name = \"one\"", "one")]
#[case::a_pod_behind_another(
    "name = \"two\"",
    "name = \"two\"\nbehind = \"one\"\nhost_interface = \"v0\"",
    "no pods behind others"
)]
fn what_does_not_fit_is_said(#[case] good: &str, #[case] bad: &str, #[case] words: &str) {
    assert!(GOOD.contains(good));
    let text = GOOD.replacen(good, bad, 1);
    let complaint = Topology::parse(&text, "f.toml").expect_err("refused");
    assert!(complaint.to_string().contains(words), "{complaint}");
}
