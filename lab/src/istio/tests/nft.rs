//! nft transactions beyond the goldens.

use proptest::prelude::*;

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

/// Flags and variables that change nft rules, any of which may go with any other.
const FLAGS: [&str; 18] = [
    "ipv6",
    "istio-inbound-interception-mode=TPROXY",
    "istio-inbound-ports=*",
    "istio-local-exclude-ports=22,15090",
    "istio-exclude-interfaces=nic0",
    "kube-virt-interfaces=eth1,eth2",
    "istio-service-cidr=10.0.0.0/8,2001:db8::/32",
    "istio-service-exclude-cidr=1.1.0.0/16,fd00::/8",
    "istio-outbound-ports=80,443",
    "istio-local-outbound-ports-exclude=5432",
    "redirect-dns",
    "capture-all-dns",
    "dns=10.96.0.10",
    "dns=fd00::a",
    "drop-invalid",
    "proxy-uid=3,4",
    "proxy-gid=1,2",
    "ISTIO_OUTBOUND_OWNER_GROUPS=java,202",
];

proptest! {
    #[test]
    fn hoplab_reads_every_rule_it_writes_for_nft(flags in proptest::sample::subsequence(FLAGS.to_vec(), 0..FLAGS.len())) {
        let text = nft(&flags.join(" "));
        let written = text.lines().filter(|line| line.contains(" rule inet ")).count();
        let document = rules::read(&text, "a transaction", Family::V4).expect("it is readable");
        prop_assert!(document.remarks.is_empty(), "{:?}", document.remarks);
        let sets = document.rules().expect("it is readable");
        prop_assert_eq!(sets.len(), 2);
        for set in &sets {
            prop_assert_eq!(set.len(), written);
            for table in set.tables.keys() {
                for (id, rule) in set.rules(*table) {
                    prop_assert!(rule.spec.is_modelled(), "{} in\n{}", id, text);
                }
            }
        }
    }
}
