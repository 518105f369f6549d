//! nft transactions beyond the goldens.

use super::*;
use crate::istio::nft::{sidecar, transaction};

fn nft(words: &str) -> String {
    let (layout, rules) = sidecar(&config_of(words));
    transaction(layout, &rules)
}

#[test]
fn an_insert_past_the_last_rule_is_an_append() {
    let text = nft("istio-inbound-interception-mode=TPROXY");
    let inbound: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("rule inet istio-proxy-mangle istio-inbound"))
        .collect();
    assert_eq!(
        inbound,
        [
            "add rule inet istio-proxy-mangle istio-inbound meta l4proto tcp mark 1337 counter return",
            "add rule inet istio-proxy-mangle istio-inbound iifname lo meta l4proto tcp ip saddr 127.0.0.6/32 counter return",
            "add rule inet istio-proxy-mangle istio-inbound iifname lo meta l4proto tcp mark != 1338 counter return",
        ]
    );
}

#[test]
fn with_ipv6_the_second_insert_finds_its_index() {
    let text = nft("istio-inbound-interception-mode=TPROXY ipv6");
    let words: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("istio-inbound iifname") || l.contains("istio-inbound index"))
        .collect();
    assert_eq!(words.len(), 3, "{text}");
    assert!(
        words[1]
            .starts_with("insert rule inet istio-proxy-mangle istio-inbound index 1 iifname lo"),
        "{text}"
    );
    assert!(
        words[2]
            .starts_with("insert rule inet istio-proxy-mangle istio-inbound index 2 iifname lo"),
        "{text}"
    );
}

#[test]
fn rules_without_an_address_are_there_once_for_both_families() {
    let text = nft("istio-inbound-ports=* istio-service-cidr=* redirect-dns capture-all-dns ipv6");
    for rule in [
        "istio-output counter jump istio-redirect",
        "istio-output-dns tcp dport 53 counter redirect to :15053",
        "istio-output-dns udp dport 53 counter ct zone set 2",
        "istio-inbound udp sport 53 counter ct zone set 1",
        "prerouting counter jump istio-inbound",
    ] {
        assert_eq!(
            text.lines().filter(|line| line.ends_with(rule)).count(),
            1,
            "{rule} in\n{text}"
        );
    }
}

#[test]
fn a_table_without_rules_is_left_out() {
    let text = nft("istio-inbound-ports=*");
    assert!(
        !text.contains("istio-proxy-mangle") && !text.contains("istio-proxy-raw"),
        "{text}"
    );
}

#[test]
fn an_empty_group_list_returns_everything() {
    assert!(has(
        &nft("ISTIO_OUTBOUND_OWNER_GROUPS="),
        "add rule inet istio-proxy-nat istio-output counter return"
    ));
}

#[test]
fn servers_of_a_family_that_is_off_get_no_rule() {
    let text = nft("redirect-dns dns=10.0.0.53 dns=fd00::53");
    assert!(
        text.contains("10.0.0.53/32") && !text.contains("fd00::53"),
        "{text}"
    );
}
