//! What the links of a pod and of the one behind it hold.

use std::net::IpAddr;

use crate::{
    interception::Interception,
    plan::{Mac, Plan, PodPlan, RuleTexts, plan},
    rules::{Backend, BackendChoice},
    topology::Topology,
};

const LAB: &str = r#"name = "small"

[rules]
profile = "istio-1.13"

[[pod]]
name = "pod"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "vm"
behind = "pod"
host_interface = "vnet0"

[[pod]]
name = "cli"
"#;

fn small() -> Plan {
    planned(LAB)
}

fn planned(text: &str) -> Plan {
    let topology = Topology::parse(text, "small.toml").expect("valid");
    let (interception, texts) = (Interception::default(), RuleTexts::default());
    let backend = BackendChoice::Fixed(Backend::Nft);
    plan(
        &topology,
        &interception,
        texts,
        &Default::default(),
        backend,
        Default::default(),
    )
}

fn pod<'p>(plan: &'p Plan, name: &str) -> &'p PodPlan {
    let pod = plan.pods.iter().find(|it| it.name == name);
    pod.expect("it is in the lab")
}

/// The link layer address that a pod knows for an address.
fn known(pod: &PodPlan, address: &str) -> Mac {
    let address: IpAddr = address.parse().expect("literal");
    let mut known = pod.link.neighbours.iter();
    let found = known.find(|(it, _)| *it == address);
    found.expect("it is known").1
}

#[test]
fn everybody_finds_what_is_behind_a_pod_at_that_pod() {
    let plan = small();
    let (cli, outer) = (pod(&plan, "cli"), pod(&plan, "pod").link.mac);
    assert_eq!(known(cli, "10.77.2.2"), outer);
    assert_eq!(known(cli, "fd77:2::2"), outer);
    assert_eq!(known(cli, "10.77.1.2"), outer);
}

#[test]
fn what_is_behind_a_pod_finds_everybody_there() {
    let plan = small();
    let (vm, outer) = (pod(&plan, "vm"), pod(&plan, "pod").link.mac);
    for address in ["10.77.1.2", "10.77.3.2", "10.77.0.1", "fd77::1"] {
        assert_eq!(known(vm, address), outer, "{address}");
    }
}

#[test]
fn the_end_in_the_outer_pod_has_its_addresses_and_leads_to_the_inner_one_alone() {
    let plan = small();
    let vm = &pod(&plan, "vm").link;
    let relay = vm.behind.as_ref().expect("it is behind a pod");
    let address = |text: &str| -> IpAddr { text.parse().expect("literal") };
    assert_eq!(
        (relay.pod.as_str(), vm.host_interface.as_str()),
        ("pod", "vnet0")
    );
    let own = [(address("10.77.1.2"), 32), (address("fd77:1::2"), 128)];
    assert_eq!(relay.addresses, own);
    assert_eq!(relay.routes, [address("10.77.2.2"), address("fd77:2::2")]);
    assert!(relay.neighbours.iter().all(|(_, mac)| *mac == vm.mac));
    assert!(pod(&plan, "cli").link.behind.is_none());
}

#[test]
fn with_kube_proxy_all_others_are_at_the_node_for_a_pod_and_each_at_its_link_for_the_node() {
    let text = LAB.replace("behind = \"pod\"\n", "");
    let text = text.replacen("[rules]", "kube_proxy = true\n[rules]", 1);
    let plan = planned(&text);
    let neighbours = &pod(&plan, "cli").link.neighbours;
    assert!(neighbours.iter().all(|(_, at)| *at == plan.node.mac));
    let of_node = plan.neighbours.iter().map(|(_, mac)| mac.0);
    let macs: std::collections::BTreeSet<_> = of_node.collect();
    assert_eq!(macs.len(), 4, "three pods and the node");
}
