//! Combinations that Istio has no golden for.

use rstest::rstest;

use super::*;
use crate::istio::routes;

#[test]
fn excluded_outbound_ports_come_first_for_both_protocols() {
    let output = chain(
        &v4("istio-local-outbound-ports-exclude=53,9080"),
        "nat",
        "ISTIO_OUTPUT",
    );
    assert_eq!(
        output[..4],
        [
            "-A ISTIO_OUTPUT -p tcp --dport 53 -j RETURN",
            "-A ISTIO_OUTPUT -p udp --dport 53 -j RETURN",
            "-A ISTIO_OUTPUT -p tcp --dport 9080 -j RETURN",
            "-A ISTIO_OUTPUT -p udp --dport 9080 -j RETURN",
        ]
    );
}

#[test]
fn excluded_inbound_ports_return_before_the_catch_all() {
    let inbound = chain(
        &v4("istio-inbound-ports=* istio-local-exclude-ports=22,15020"),
        "nat",
        "ISTIO_INBOUND",
    );
    assert_eq!(
        inbound,
        [
            "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
            "-A ISTIO_INBOUND -p tcp --dport 22 -j RETURN",
            "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN",
            "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        ]
    );
}

#[test]
fn capturing_all_dns_names_no_server_in_either_family() {
    let words = "redirect-dns capture-all-dns ipv6";
    for text in [v4(words), v6(words)] {
        assert_eq!(
            chain(&text, "nat", "ISTIO_OUTPUT_DNS"),
            [
                "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053",
                "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053",
            ]
        );
        assert!(
            has(
                &text,
                "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2"
            ),
            "{text}"
        );
        assert_eq!(
            chain(&text, "raw", "ISTIO_INBOUND"),
            ["-A ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1"]
        );
        assert_eq!(
            chain(&text, "raw", "PREROUTING"),
            ["-A PREROUTING -j ISTIO_INBOUND"]
        );
    }
}

#[test]
fn tproxy_without_inbound_ports_still_inserts_its_returns() {
    let text = v4("istio-inbound-interception-mode=TPROXY");
    assert_eq!(
        chain(&text, "mangle", "ISTIO_INBOUND"),
        [
            "-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN",
            "-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
            "-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
        ]
    );
    assert!(!text.contains("-j ISTIO_INBOUND"), "{text}");
}

#[test]
fn tproxy_asks_for_both_states_per_listed_port() {
    let text = v4("istio-inbound-interception-mode=TPROXY istio-inbound-ports=80,443");
    let inbound = chain(&text, "mangle", "ISTIO_INBOUND");
    assert_eq!(
        inbound[..4],
        [
            "-A ISTIO_INBOUND -p tcp --dport 80 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            "-A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_TPROXY",
            "-A ISTIO_INBOUND -p tcp --dport 443 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            "-A ISTIO_INBOUND -p tcp --dport 443 -j ISTIO_TPROXY",
        ]
    );
    assert!(chain(&text, "nat", "PREROUTING").is_empty(), "{text}");
}

#[test]
fn tproxy_marks_for_every_user_then_every_group() {
    let text = v6(
        "istio-inbound-interception-mode=TPROXY istio-inbound-ports=* proxy-uid=3,4 proxy-gid=1,2 ipv6",
    );
    let owners: Vec<_> = chain(&text, "mangle", "OUTPUT")
        .into_iter()
        .filter(|l| l.contains("owner"))
        .collect();
    let line = |owner: &str| {
        format!("-A OUTPUT ! -d ::1/128 -p tcp -o lo -m owner {owner} -j MARK --set-mark 1338")
    };
    let expected = [
        "--uid-owner 3",
        "--uid-owner 4",
        "--gid-owner 1",
        "--gid-owner 2",
    ]
    .map(line);
    assert_eq!(owners, expected);
}

#[test]
fn the_drop_chain_comes_before_those_of_tproxy() {
    let text = v4("istio-inbound-interception-mode=TPROXY istio-inbound-ports=* drop-invalid");
    let chains: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("-N"))
        .take(4)
        .collect();
    assert_eq!(
        chains,
        [
            "-N ISTIO_DROP",
            "-N ISTIO_DIVERT",
            "-N ISTIO_TPROXY",
            "-N ISTIO_INBOUND"
        ]
    );
}

#[test]
fn invalid_packets_are_dropped_in_both_families() {
    assert!(has(&v6("drop-invalid ipv6"), "-A ISTIO_DROP -j DROP"));
}

#[rstest]
#[case("127.0.0.0/8")]
#[case("127.1.2.3/32")]
#[case("::1/128")]
fn an_included_loopback_range_drops_the_return_of_other_owners_in_both_families(
    #[case] range: &str,
) {
    let words = format!("istio-service-cidr={range} ipv6");
    for text in [v4(&words), v6(&words)] {
        assert!(!text.contains("! --uid-owner"), "{text}");
        assert!(!text.contains("! --gid-owner"), "{text}");
    }
}

#[test]
fn the_loopback_range_is_kept_as_given_with_dns_too() {
    let text = v4("redirect-dns capture-all-dns ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.1/8");
    assert!(
        has(&text, "-A ISTIO_OUTPUT -d 127.0.0.1/8 -j RETURN"),
        "{text}"
    );
    assert!(
        text.contains("-o lo ! -d 127.0.0.1/8 -p tcp -m multiport ! --dports 53,15008"),
        "{text}"
    );
}

#[test]
fn an_empty_group_list_returns_everything() {
    let text = v4("ISTIO_OUTBOUND_OWNER_GROUPS=");
    assert!(has(&text, "-A ISTIO_OUTPUT -j RETURN"), "{text}");
}

#[test]
fn ports_mark_and_table_are_used_wherever_they_belong() {
    let words = "envoy-port=1001 inbound-capture-port=1006 inbound-tunnel-port=1008 istio-inbound-tproxy-mark=7 \
                 istio-inbound-tproxy-route-table=9 proxy-uid=5 istio-inbound-interception-mode=TPROXY istio-inbound-ports=* ipv6";
    let text = v4(words);
    for left in ["1500", "1337", "133 "] {
        assert!(!text.contains(left), "{left} in\n{text}");
    }
    assert!(
        text.contains("--tproxy-mark 7/0xffffffff --on-port 1006"),
        "{text}"
    );
    let steps: Vec<_> = routes::sidecar(&config_of(words))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        steps,
        [
            "ip -6 addr add ::6/128 dev lo",
            "ip -4 rule add fwmark 7 lookup 9",
            "ip -4 route add local 0.0.0.0/0 dev lo table 9",
            "ip -6 rule add fwmark 7 lookup 9",
            "ip -6 route add local ::/0 dev lo table 9",
        ]
    );
}

#[rstest]
#[case("istio-inbound-interception-mode=TPROXY")]
#[case("istio-inbound-ports=*")]
fn only_a_capturing_tproxy_needs_routes(#[case] words: &str) {
    assert_eq!(routes::sidecar(&config_of(words)), []);
}

#[test]
fn a_virtual_interface_is_left_alone_then_rerouted_in_front() {
    let words = "kube-virt-interfaces=eth1,eth2 istio-service-cidr=10.0.0.0/8,11.0.0.0/8";
    assert_eq!(
        chain(&v4(words), "nat", "PREROUTING"),
        [
            "-I PREROUTING 1 -i eth1 -j RETURN",
            "-I PREROUTING 1 -i eth2 -j RETURN",
            "-I PREROUTING 1 -i eth1 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-I PREROUTING 1 -i eth2 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-I PREROUTING 1 -i eth1 -d 11.0.0.0/8 -j ISTIO_REDIRECT",
            "-I PREROUTING 1 -i eth2 -d 11.0.0.0/8 -j ISTIO_REDIRECT",
        ]
    );
}

#[test]
fn ranges_go_to_their_family_in_canonical_form_with_host_bits() {
    let words = "istio-service-cidr=10.1.2.3/8,2001:DB8:0::1/32 ipv6";
    assert!(has(
        &v4(words),
        "-A ISTIO_OUTPUT -d 10.1.2.3/8 -j ISTIO_REDIRECT"
    ));
    assert!(has(
        &v6(words),
        "-A ISTIO_OUTPUT -d 2001:db8::1/32 -j ISTIO_REDIRECT"
    ));
    assert!(!v4(words).contains("2001"));
}

#[test]
fn without_ipv6_there_is_no_ipv6_text() {
    assert_eq!(v6("istio-inbound-ports=* istio-service-cidr=*"), "");
}
