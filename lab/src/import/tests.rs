use rstest::rstest;

use super::*;
use crate::{LabFile, rules::parse};

fn net(text: &str) -> IpNet {
    text.parse().expect("an address with a prefix")
}

fn container() -> Seen {
    Seen {
        pid: 4711,
        interfaces: vec![
            Interface {
                name: "net1".to_owned(),
                addresses: vec![net("192.168.7.5/24")],
            },
            Interface {
                name: "eth0".to_owned(),
                addresses: vec![net("10.1.2.3/24"), net("fd12::3/64"), net("10.1.2.4/24")],
            },
        ],
        default_routes: vec![(
            "eth0".to_owned(),
            Some("10.1.2.1".parse().expect("an address")),
        )],
        other_routes: 0,
        listeners: vec![(8080, 1000), (15001, 1337), (15021, 1337)],
    }
}

fn rules() -> Vec<RuleSet> {
    let text =
        "*nat\n[3:180] -A PREROUTING -p tcp -m set --match-set hosts src -j ACCEPT\nCOMMIT\n";
    vec![parse(text, Family::V4, "test").expect("rules")]
}

#[test]
fn the_copy_is_a_lab_with_the_container_s_interface_addresses_and_listeners() {
    let copy = copy(&container(), "its-copy", &rules(), Some(1337)).expect("a copy");
    let file = LabFile::parse(&copy.text, "copy.toml").expect("a lab file");
    let topology = &file.topology;
    let pod = topology.pod(POD).expect("it is there");
    assert_eq!(pod.interface.to_string(), "eth0");
    assert_eq!(
        (pod.addr.v4.to_string(), pod.addr.v6.to_string()),
        ("10.1.2.3".into(), "fd12::3".into())
    );
    assert_eq!(
        topology.network.node.v4.to_string(),
        "10.1.2.1",
        "the gateway"
    );
    let app = pod.app.as_ref().expect("an app");
    assert_eq!((app.uid, &app.ports[..]), (1000, &[8080][..]));
    assert_eq!(
        topology.pod(PEER).map(|it| it.addr.v4.to_string()),
        Some("10.1.2.2".to_owned())
    );
    let meant = file
        .meant_in_pods(Family::V4)
        .expect("they parse")
        .expect("there are");
    assert_eq!(meant.without_counters(), rules()[0].without_counters());
}

#[rstest]
#[case::the_other_interface("the interface net1 (192.168.7.5/24) is not copied")]
#[case::a_second_address("the address 10.1.2.4/24 of eth0 is not copied")]
#[case::sets("the sets that IPv4 nat PREROUTING 1 asks for are not copied")]
#[case::counters("what its rules have counted is not copied")]
fn what_is_not_copied_is_told(#[case] words: &str) {
    let copy = copy(&container(), "its-copy", &rules(), None).expect("a copy");
    assert!(
        copy.left_out.iter().any(|it| it.contains(words)),
        "{copy:#?}"
    );
}

#[test]
fn a_container_with_one_family_alone_and_a_narrow_address_has_room_for_a_peer() {
    let mut seen = container();
    seen.interfaces.truncate(1);
    seen.interfaces[0].addresses = vec![net("10.1.2.3/32")];
    seen.default_routes.clear();
    seen.listeners.clear();
    let copy = copy(&seen, "its-copy", &[], None).expect("a copy");
    let file = LabFile::parse(&copy.text, "copy.toml").expect("a lab file");
    assert_eq!(
        file.topology.pod(POD).map(|it| it.addr.v4.to_string()),
        Some("10.1.2.3".to_owned())
    );
    assert!(
        copy.left_out
            .iter()
            .any(|it| it.contains("it has no IPv6 address")),
        "{copy:#?}"
    );
    assert!(
        copy.left_out.iter().any(|it| it.contains("no app listens")),
        "{copy:#?}"
    );
}

#[test]
fn a_namespace_without_addresses_is_refused() {
    let failure = copy(&Seen::default(), "none", &[], None).expect_err("nothing to copy");
    assert!(
        failure.what.contains("no interface with an address but lo"),
        "{failure}"
    );
}
