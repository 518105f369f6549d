//! Values that are refused, those without effect, and the commands beside the rules.

use super::*;

#[rstest]
#[case(
    "redirect-inbound=false exclude-inbound-ports=1",
    Warning::DirectionOff("inbound capture")
)]
#[case(
    "redirect-outbound=false include-outbound-ports=1",
    Warning::DirectionOff("outbound capture")
)]
#[case(
    "include-inbound-ports=1 exclude-inbound-ports=2",
    Warning::InboundExclusionsIgnored
)]
#[case("redirect-dns redirect-all-dns-traffic", Warning::AllDnsWins)]
#[case("drop-invalid-packets without=mangle", Warning::InvalidNotDropped)]
fn what_is_without_effect_is_said(#[case] words: &str, #[case] expected: Warning) {
    assert_eq!(warnings(words), [expected]);
}

#[rstest]
#[case(
    "exclude-outbound-ports-for-uids=*",
    "Kuma takes no wildcard for users"
)]
#[case(
    "exclude-outbound-ports-for-uids=1,2",
    "Kuma takes one user or one range of users, no list"
)]
#[case(
    "exclude-outbound-ports-for-uids=2-1",
    "it is no user id and no range of them"
)]
#[case(
    "exclude-outbound-ports-for-uids=sctp:1:2",
    "it is neither tcp nor udp"
)]
#[case(
    "exclude-outbound-ports-for-uids=70000:2",
    "it is no port and no range of them"
)]
#[case(
    "exclude-outbound-ports-for-uids=a:b:c:d",
    "it has more than three parts"
)]
#[case(
    "exclude-outbound-ports-for-uids=1,2,3,4,5,6,7,8,9,10,11,12,13,14-15,16:2",
    "it takes 16 places, iptables has 15 (two for a range), and Kuma writes one rule"
)]
#[case("exclude-inbound-ports=1-2", "it is no such number")]
#[case(
    "exclude-inbound-ips=10.0.0.0/33",
    "it is neither an address nor a range"
)]
#[case("redirect-inbound=maybe", "it is neither true nor false")]
#[case("redirect-inbound-port=0", "nothing listens on port 0")]
#[case("redirect-inbound-port=+1", "it is no such number")]
#[case("ip-family-mode=ipv6", "Kuma knows no such mode")]
#[case("vnet=docker0", "there is no `:`")]
#[case("vnet=a;b:10.0.0.0/8", "it is no interface")]
#[case("vnet=br0:10.0.0.0", "no prefix length (`/32` is one address)")]
#[case(
    "vnet=br0:10.0.0.0/8|br0:10.1.0.0/16",
    "its interface has a network of that family already"
)]
fn a_value_no_rule_can_be_made_of_is_refused_with_its_flag(#[case] words: &str, #[case] why: &str) {
    let bad = configured(words).unwrap_err();
    assert_eq!(bad.why, why);
    assert_eq!(bad.name, format!("--{}", words.split_once('=').unwrap().0));
}

#[test]
fn fifteen_places_fit_one_rule() {
    let words = "exclude-outbound-ports-for-uids=tcp:1,2,3,4,5,6,7,8,9,10,11,12,13,14-15:2";
    assert!(text(words, Family::V4).contains("12,13,14:15 "));
}

#[test]
fn only_legacy_iptables_is_told_to_wait() {
    let (config, _) = configured("wait-interval=100000").unwrap();
    assert_eq!(
        restore_command(&config, Family::V6, false),
        "ip6tables-nft-restore --noflush"
    );
    assert_eq!(
        restore_command(&config, Family::V4, true),
        "iptables-legacy-restore --wait=5 --wait-interval=100000 --noflush"
    );
    assert_eq!(tries(&config), "up to 5 times, 2 s apart");
    let (config, _) = configured("wait=0 max-retries=0").unwrap();
    assert_eq!(
        restore_command(&config, Family::V4, true),
        "iptables-legacy-restore --noflush"
    );
    assert_eq!(tries(&config), "once");
}
