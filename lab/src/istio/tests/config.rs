//! What is refused, and what is taken with a warning.

use rstest::rstest;

use super::*;
use crate::failure::Failure;

#[rstest]
#[case(
    "istio-inbound-ports=80,x!",
    "--istio-inbound-ports is `80,x!`: `x!` is not a port"
)]
#[case("istio-inbound-ports=*,80", "`*` is not a port")]
#[case("istio-local-outbound-ports-exclude=70000", "`70000` is not a port")]
#[case("istio-outbound-ports=80-90", "`80-90` is not a port")]
#[case("istio-outbound-ports=90:80", "`90:80` is not a port")]
#[case("envoy-port=0", "--envoy-port is `0`: it is no port")]
#[case("istio-inbound-tproxy-mark=0x539", "it is no decimal number")]
#[case("istio-service-exclude-cidr=*", "Istio does not exclude everything")]
#[case("istio-exclude-interfaces=-j", "`-j` is not an interface")]
#[case("istio-exclude-interfaces=much-too-long-a-name", "is not an interface")]
#[case("proxy-uid=99999999999", "is not a user or group")]
#[case("force-iptables-binary=bsd", "Istio knows nft and legacy")]
#[case(
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=10.0.0.0/8",
    "it is no IPv4 loopback range"
)]
#[case(
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=::1/128",
    "it is no IPv4 loopback range"
)]
#[case(
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.0/7",
    "it reaches beyond 127.0.0.0/8"
)]
#[case("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=", "no prefix length")]
fn a_value_no_rule_can_be_made_of_says_what_and_why(#[case] words: &str, #[case] message: &str) {
    let error = Case::new(words).config().unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
    assert!(
        Failure::from(error)
            .hint
            .is_some_and(|hint| !hint.is_empty())
    );
}

#[test]
fn more_than_64_groups_can_not_be_included_but_excluded() {
    let groups = (1..=65)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let error = Case::new(&format!("ISTIO_OUTBOUND_OWNER_GROUPS={groups}"))
        .config()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("65 groups are more than the 64 Istio takes"),
        "{error}"
    );
    let exclude = format!("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE={groups}");
    assert!(has(
        &v4(&exclude),
        "-A ISTIO_OUTPUT -m owner --gid-owner 65 -j RETURN"
    ));
}

#[rstest]
#[case("", "nothing is captured")]
#[case(
    "istio-inbound-interception-mode=tproxy",
    "the interception mode `tproxy` means REDIRECT"
)]
#[case(
    "istio-inbound-ports=80 istio-local-exclude-ports=81",
    "istio-local-exclude-ports is without effect"
)]
#[case(
    "istio-service-cidr=* istio-outbound-ports=80",
    "istio-outbound-ports is without effect"
)]
#[case(
    "istio-service-cidr=10.0.0.0",
    "Istio ignores `10.0.0.0` in --istio-service-cidr: no prefix length"
)]
#[case(
    "istio-service-cidr=10.0.0.0/33",
    "`33` is no prefix length of that family"
)]
#[case(
    "istio-service-exclude-cidr=10.0.0.0/08",
    "`08` is no prefix length of that family"
)]
#[case("proxy-uid=envoy", "`envoy` in --proxy-uid is a name")]
#[case("redirect-dns", "DNS is not captured")]
#[case("capture-all-dns", "capture-all-dns is without effect")]
#[case(
    "ISTIO_OUTBOUND_OWNER_GROUPS=1 ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=2",
    "is without effect"
)]
#[case("ISTIO_OUTBOUND_OWNER_GROUPS=", "no group's traffic is captured")]
#[case("dual-stack", "dual-stack alone adds no IPv6 rules")]
#[case("native-nftables", "with IPv6 off nft still captures IPv6")]
#[case(
    "istio-inbound-interception-mode=TPROXY istio-inbound-ports=*",
    "TPROXY captures the tunnel port 15008"
)]
#[case("proxy-uid=3,4", "with several proxy users")]
#[case(
    "cleanup-only",
    "with --cleanup-only Istio would not install these rules"
)]
fn what_istio_takes_in_silence_is_said(#[case] words: &str, #[case] message: &str) {
    let mut case = Case::new(words);
    case.config().unwrap();
    let warnings: Vec<_> = case.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|warning| warning.contains(message)),
        "{warnings:#?}"
    );
}

#[test]
fn a_usual_configuration_has_no_surprise() {
    let mut case = Case::new(
        "istio-inbound-ports=* istio-service-cidr=* istio-local-exclude-ports=15090,15021,15020",
    );
    case.config().unwrap();
    assert_eq!(case.warnings, []);
}

#[test]
fn a_space_in_a_list_goes_into_the_rule() {
    let flag = Flag::find("istio-inbound-ports").unwrap();
    let mut case = Case::new("");
    case.settings.take_flags([(flag, "80, 81,")]).unwrap();
    let rules = iptables(&case.config().unwrap(), Release::NEWEST);
    assert!(
        rules
            .iter()
            .any(|rule| rule.words == "-p tcp --dport  81 -j ISTIO_IN_REDIRECT")
    );
    assert!(case.warnings.contains(&Warning::SpaceKept {
        name: "--istio-inbound-ports",
        value: " 81".into()
    }));
}

#[test]
fn ranges_of_ports_are_taken() {
    assert!(has(
        &v4("istio-outbound-ports=80:90"),
        "-A ISTIO_OUTPUT -p tcp --dport 80:90 -j ISTIO_REDIRECT"
    ));
}
