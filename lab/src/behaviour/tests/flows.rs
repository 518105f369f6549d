//! Which flows are made of what rules name, and how they are written.

use std::collections::BTreeSet;

use rstest::rstest;

use super::*;
use crate::behaviour::blind_spots;

#[test]
fn every_edge_of_what_rules_name_is_tried_on_both_sides() {
    let text = "*nat\n-A OUTPUT -d 10.1.0.0/16 -p tcp --dport 100:200 -m owner --uid-owner 7 -j RETURN\nCOMMIT\n";
    let rules = subject("edges", text);
    let (_, choice) = chosen(&rules, &rules);
    let sample = Sampling {
        flows: usize::MAX,
        seed: 1,
    };
    let stage = Stage::away_from(rules.sets());
    let all = choose(&[&rules], &stage, sample).expect("few enough").flows;
    let ports: BTreeSet<u16> = all.iter().map(|it| it.to.port()).collect();
    for port in [99, 100, 200, 201] {
        assert!(ports.contains(&port), "{port} of {ports:?}");
    }
    let to: BTreeSet<String> = all.iter().map(|it| it.to.ip().to_string()).collect();
    for address in ["10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0"] {
        assert!(to.contains(address), "{address} of {to:?}");
    }
    assert!(choice.flows.len() < all.len(), "some are alike");
}

#[test]
fn a_flow_reads_as_it_is_written() {
    let rules = profile("istio-tproxy");
    let (_, choice) = chosen(&rules, &rules);
    for flow in &choice.flows {
        assert_eq!(flow.to_string().parse().as_ref(), Ok(flow));
    }
}

#[rstest]
#[case::protocol(
    "icmp in=eth0 src=192.0.2.3 dst=192.0.2.2:1",
    "`icmp` is not tcp or udp"
)]
#[case::nobody(
    "tcp src=192.0.2.3 dst=192.0.2.2:1",
    "it needs either `in=`, or `uid=` and `gid=`"
)]
#[case::both(
    "tcp in=eth0 uid=1 gid=1 src=192.0.2.3 dst=192.0.2.2:1",
    "it needs either `in=`, or `uid=` and `gid=`"
)]
#[case::no_port(
    "tcp in=eth0 src=192.0.2.3 dst=192.0.2.2",
    "`192.0.2.2` is no address with a port"
)]
#[case::nowhere("tcp in=eth0 src=192.0.2.3", "it needs `src=` and `dst=`")]
fn words_that_are_no_flow_are_refused(#[case] words: &str, #[case] why: &str) {
    assert_eq!(words.parse::<Flow>(), Err(why.to_owned()));
}

#[rstest]
#[case::a_rare_state(
    "-A PREROUTING -m conntrack --ctstate RELATED -j RETURN",
    "a state of connections"
)]
#[case::another_protocol("-A PREROUTING -p icmp -j RETURN", "another protocol")]
#[case::an_extension(
    "-A PREROUTING -m length --length 1:2 -j RETURN",
    "what is not modelled"
)]
fn what_no_flow_varies_is_named_where_one_side_has_it(#[case] rule: &str, #[case] asks: &str) {
    let set = |rule: &str| {
        subject(
            "a set",
            &format!("*nat\n{rule}\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n"),
        )
    };
    let (with, without) = (set(rule), set(""));
    let found = blind_spots(&without, &with);
    assert_eq!(found.len(), 1);
    assert!(found[0].asks.starts_with(asks), "{}", found[0]);
    assert_eq!(blind_spots(&with, &with), []);
}

#[test]
fn what_comes_in_by_an_interface_that_rules_name_is_tried() {
    let set = |rule: &str| {
        subject(
            "a set",
            &format!("*nat\n{rule}\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n"),
        )
    };
    let found = compared(&set(""), &set("-A PREROUTING -i net+ -j RETURN"));
    let flows = words(&found);
    assert!(!flows.is_empty());
    for flow in flows {
        // To the pod, and through it.
        let to_pod = flow.starts_with("tcp in=net0 src=198.19.0.3 dst=192.0.2.2:");
        let through = flow.starts_with("tcp in=net0 src=198.19.0.3 dst=192.0.2.3:");
        assert!(to_pod || through, "{flow}");
    }
}

#[test]
fn what_passes_through_is_tried_where_rules_are_about_such() {
    let empty = subject("empty", "*nat\n-A OUTPUT -p tcp -j RETURN\nCOMMIT\n");
    let rules = "*filter\n-A FORWARD -p udp --dport 53 -j DROP\nCOMMIT\n";
    let found = compared(&empty, &subject("rules", rules));
    let flows: BTreeSet<String> = words(&found).into_iter().collect();
    // The way back is of the same kind: the same rules at the same hooks.
    let wanted = "udp in=net0 src=198.19.0.3 dst=192.0.2.3:53";
    assert!(flows.contains(wanted), "{flows:?}");
    assert!(flows.iter().all(|it| it.ends_with(":53")), "{flows:?}");
    let (_, choice) = chosen(&empty, &empty);
    assert!(
        choice
            .flows
            .iter()
            .all(|it| !it.to_string().contains("net0"))
    );
}
