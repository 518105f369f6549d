//! `hoplab rules diff`: what two sets do differently.

use rstest::rstest;

use crate::{command::Scratch, differing, ending, json, patterns, rendered, rules, says};

#[rstest]
#[case::native_nft("istio istio-nft")]
#[case::both_backends("kuma kuma --backend nft --backend-of-b legacy")]
#[case::generations_that_differ_in_options_only("istio-1.18 istio-1.25 --only ipv4")]
fn what_does_the_same_is_alike(#[case] sets: &str) {
    let ended = ending(0, "diff", &sets.split(' ').collect::<Vec<_>>());
    says(&ended, "They do the same to every flow tried.");
    let flows: usize = ended
        .stdout
        .lines()
        .nth(2)
        .and_then(|it| it.split(' ').next()?.parse().ok())
        .expect("flows");
    assert!(flows > 80, "{flows}");
}

#[test]
fn rules_in_another_order_and_spelling_are_alike() {
    let scratch = Scratch::new();
    let one = scratch.file(
        "one",
        "*nat\n:MINE - [0:0]\n-A PREROUTING -p tcp -j MINE\n-A MINE -p tcp --dport 22 -j RETURN\n\
         -A MINE -p tcp -m multiport --dports 15020,15021 -j RETURN\n-A MINE -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n",
    );
    let other = scratch.file(
        "other",
        "* nat\n-N YOURS\n-A YOURS -p tcp --dport 15021 -j RETURN\n-A YOURS -p tcp --dport 15020:15020 -j ACCEPT\n\
         -A YOURS -p tcp ! --dport 22 -j REDIRECT --to-port 15006\n-A PREROUTING -p tcp -j YOURS\nCOMMIT\n",
    );
    let ended = ending(0, "diff --json --text", &[&one, &other]);
    assert!(
        !json(&ended)["rules"].as_array().expect("a list").is_empty(),
        "the rules do differ"
    );
}

#[test]
fn istio_1_13_and_1_32_differ_in_calls_of_the_proxy_to_its_own_tunnel_port() {
    let ended = ending(1, "diff istio-1.13 istio-1.32 --json", &[]);
    let value = json(&ended);
    assert_eq!(value["disagreements"], serde_json::json!([]));
    assert_eq!(
        patterns(&value),
        ["IPv4 and IPv6 TCP from the pod to the pod, port 15008, sent by user 1337 and any group"]
    );
    let decided = &value["differences"][0]["b"]["decided"];
    assert_eq!(decided["rule"], "ipv4 nat ISTIO_OUTPUT 4", "{value:#}");
}

#[test]
fn linkerd_0_and_1_differ_in_one_flow() {
    let ended = ending(1, "diff linkerd linkerd-1 --only ipv4", &[]);
    says(&ended, "They differ in 1 flow (");
    says(
        &ended,
        "\n1. IPv4 TCP from the pod to the pod, any port but 4190, 4191, 4567, 4568, sent by user 2102 and any group\n",
    );
}

#[test]
fn kuma_captures_dns_over_tcp_when_it_inserts_its_jump() {
    let scratch = Scratch::new();
    let append = rendered(&scratch, "append", "render kuma --redirect-all-dns-traffic");
    let insert = rendered(
        &scratch,
        "insert",
        "render kuma --redirect-all-dns-traffic --insert-outbound-redirect",
    );
    let ended = ending(1, "diff --only ipv4 --json", &[&append, &insert]);
    let flows = differing(&json(&ended));
    assert!(!flows.is_empty());
    for flow in flows {
        assert!(
            flow.starts_with("tcp uid=") && flow.ends_with(":53"),
            "{flow}"
        );
    }
}

#[test]
fn the_kernel_tells_apart_what_the_model_cannot() {
    let scratch = Scratch::new();
    let text =
        |rule: &str| format!("*nat\n{rule}-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n");
    let with = scratch.file(
        "with",
        &text("-A OUTPUT -p tcp -m length --length 0:65535 -j RETURN\n"),
    );
    let without = scratch.file("without", &text(""));
    let ended = ending(1, "diff", &[&without, &with]);
    assert!(ended.stderr.contains("is not modelled"), "{}", ended.stderr);
}

#[test]
fn markdown_has_both_ways_in_a_table() {
    let ended = rules("diff linkerd linkerd-1 --only ipv4 --markdown --text", &[]);
    says(&ended, "| | before | after |");
    says(&ended, "The rules themselves: 1 differences");
}

#[test]
fn no_difference_is_claimed_where_no_flow_looks() {
    let scratch = Scratch::new();
    let text = |rule: &str| {
        format!("*nat\n{rule}-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n")
    };
    let with = scratch.file("with", &text("-A OUTPUT -p icmp -j RETURN\n"));
    let without = scratch.file("without", &text(""));
    let ended = ending(5, "diff", &[&without, &with]);
    says(&ended, "asks for another protocol than TCP and UDP");
    ending(0, "diff", &[&with, &with]);
}

#[rstest]
#[case::a_source_port(
    "*raw\n-A PREROUTING -p udp --sport 53 -j CT --zone 1\nCOMMIT\n",
    "UDP from another machine port 53 to the pod, any port, come in by eth0"
)]
#[case::a_state(
    "*mangle\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n",
    "stray TCP from another machine to the pod, any port, come in by eth0"
)]
#[case::an_interface_to_leave_by(
    "*mangle\n-A POSTROUTING -o net0 -p tcp -j DROP\nCOMMIT\n",
    "TCP from the pod to 198.19.0.3, any port, sent out by net0 by any user and any group"
)]
#[case::what_passes_through(
    "*filter\n-A FORWARD -i net0 -p udp -j DROP\nCOMMIT\n",
    "UDP from 198.19.0.3 to another machine, any port, come in by net0"
)]
#[case::a_source_of_links(
    "*mangle\n-A PREROUTING -s 169.254.7.127 -p tcp -j DROP\nCOMMIT\n",
    "TCP from 169.254.7.127 to the pod, any port, come in by eth0"
)]
fn a_rule_more_is_told_by_the_flow_it_asks_for(#[case] more: &str, #[case] flow: &str) {
    let scratch = Scratch::new();
    let redirect = "*nat\n-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n";
    let without = scratch.file("without", redirect);
    let with = scratch.file("with", &format!("{more}{redirect}"));
    let ended = ending(1, "diff", &[&without, &with]);
    says(&ended, flow);
    assert_eq!(
        ended.stdout.matches("do not say the same").count(),
        0,
        "{}",
        ended.stdout
    );
}

#[test]
fn what_comes_in_by_another_interface_is_told_apart() {
    let scratch = Scratch::new();
    let text = |rule: &str| {
        format!("*nat\n{rule}-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n")
    };
    let both = |name, rule: &str| scratch.file(name, &(text(rule) + "# ip6tables\n" + &text(rule)));
    let with = both("with", "-A PREROUTING -i net+ -j RETURN\n");
    let without = both("without", "");
    let ended = ending(1, "diff --json", &[&without, &with]);
    let value = json(&ended);
    assert_eq!(value["disagreements"], serde_json::json!([]));
    let flows = differing(&value);
    assert!(
        flows.iter().any(|it| it.contains("dst=[")),
        "IPv6 too: {flows:?}"
    );
    for flow in flows {
        assert!(flow.starts_with("tcp in=net0 "), "{flow}");
    }
}
