//! What changed from release to release.

use rstest::rstest;

use super::*;
use crate::{builtin, istio::Generation};

#[rstest]
#[case("1.12", Generation::G0)]
#[case("1.13", Generation::G1)]
#[case("1.17.8", Generation::G1)]
#[case("1.18", Generation::G2)]
#[case("1.19", Generation::G2)]
#[case("1.20", Generation::G3)]
#[case("1.22", Generation::G3)]
#[case("1.23", Generation::G4)]
#[case("v1.24", Generation::G5)]
#[case("1.25", Generation::G6)]
#[case("1.32", Generation::G6)]
fn every_release_has_its_generation(#[case] release: &str, #[case] generation: Generation) {
    assert_eq!(release.parse::<Release>().unwrap().generation(), generation);
}

#[rstest]
#[case("1.11")]
#[case("1.33")]
#[case("2.0")]
#[case("1")]
#[case("1.24.x")]
#[case("1.24.1.1")]
#[case("")]
fn an_unknown_release_says_which_are_known(#[case] text: &str) {
    let error = text.parse::<Release>().unwrap_err().to_string();
    assert!(error.contains("1.12 to 1.32"), "{error}");
}

const BOOKINFO: &str = "istio=1.13 istio-inbound-ports=* istio-service-cidr=* istio-local-exclude-ports=15090,15021,15020";

#[test]
fn bookinfos_rules_are_what_istio_1_13_writes() {
    let both = format!("{BOOKINFO} ipv6");
    assert_eq!(
        Some(v4(BOOKINFO).as_str()),
        builtin::rule_text("istio-1.13", Family::V4)
    );
    assert_eq!(
        Some(v6(&both).as_str()),
        builtin::rule_text("istio-1.13", Family::V6)
    );
}

#[rstest]
#[case("1.12", true)]
#[case("1.13", false)]
fn port_22_was_never_captured_up_to_1_12(#[case] istio: &str, #[case] exempt: bool) {
    let inbound = chain(
        &v4(&format!(
            "istio={istio} istio-inbound-ports=* istio-local-exclude-ports=80"
        )),
        "nat",
        "ISTIO_INBOUND",
    );
    let ssh = "-A ISTIO_INBOUND -p tcp --dport 22 -j RETURN";
    assert_eq!(inbound[1] == ssh, exempt, "{inbound:#?}");
}

#[rstest]
#[case("1.17", "", "")]
#[case("1.18", " -p tcp ! --dport 15008", " -p tcp ! --dport 15008")]
fn self_calls_spare_the_tunnel_port_since_1_18(
    #[case] istio: &str,
    #[case] uid: &str,
    #[case] gid: &str,
) {
    let text = v4(&format!("istio={istio}"));
    for (guard, owner) in [(uid, "--uid-owner"), (gid, "--gid-owner")] {
        let line = format!(
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32{guard} -m owner {owner} 1337 -j ISTIO_IN_REDIRECT"
        );
        assert!(has(&text, &line), "{text}");
    }
}

#[rstest]
#[case("1.17", " -p tcp ! --dport 53", "")]
#[case(
    "1.18",
    " -p tcp -m multiport ! --dports 53,15008",
    " -p tcp ! --dport 15008"
)]
fn with_dns_only_the_user_rule_of_self_calls_spares_port_53(
    #[case] istio: &str,
    #[case] uid: &str,
    #[case] gid: &str,
) {
    let text = v4(&format!("istio={istio} redirect-dns capture-all-dns"));
    for (guard, owner) in [(uid, "--uid-owner"), (gid, "--gid-owner")] {
        let line = format!(
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32{guard} -m owner {owner} 1337 -j ISTIO_IN_REDIRECT"
        );
        assert!(has(&text, &line), "{text}");
    }
}

#[rstest]
#[case("1.19", "-d")]
#[case("1.20", "-s")]
#[case("1.24", "-s")]
fn dns_replies_are_told_by_source_since_1_20(#[case] istio: &str, #[case] option: &str) {
    let text = v4(&format!("istio={istio} redirect-dns dns=10.0.0.53"));
    let line = format!("-A PREROUTING -p udp --sport 53 {option} 10.0.0.53/32 -j CT --zone 1");
    assert!(has(&text, &line), "{text}");
}

#[rstest]
#[case("1.22", true)]
#[case("1.23", false)]
fn cidr_lists_ended_with_a_return_up_to_1_22(#[case] istio: &str, #[case] ends: bool) {
    let words = format!("istio={istio} istio-service-cidr=10.0.0.0/8,fd00::/8 ipv6");
    for text in [v4(&words), v6(&words)] {
        let output = chain(&text, "nat", "ISTIO_OUTPUT");
        assert_eq!(
            output.last().unwrap() == "-A ISTIO_OUTPUT -j RETURN",
            ends,
            "{text}"
        );
    }
    let none_of_family = v6(&format!("istio={istio} istio-service-cidr=10.0.0.0/8 ipv6"));
    assert!(
        !has(&none_of_family, "-A ISTIO_OUTPUT -j RETURN"),
        "{none_of_family}"
    );
}

#[test]
fn dns_over_udp_sat_in_output_up_to_1_22() {
    let text = v4("istio=1.22 istio-service-cidr=* redirect-dns dns=10.0.0.53");
    assert_eq!(
        chain(&text, "nat", "OUTPUT"),
        [
            "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
            "-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN",
            "-A OUTPUT -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN",
            "-A OUTPUT -p udp --dport 53 -d 10.0.0.53/32 -j REDIRECT --to-port 15053",
        ]
    );
    assert_eq!(chain(&text, "raw", "OUTPUT").len(), 5, "{text}");
}

#[rstest]
#[case("1.23")]
#[case("1.24")]
fn dns_over_udp_goes_through_istio_output_since_1_23(#[case] istio: &str) {
    let text = v4(&format!(
        "istio={istio} istio-service-exclude-cidr=10.0.0.0/8 redirect-dns dns=10.0.0.53"
    ));
    assert_eq!(
        chain(&text, "nat", "OUTPUT"),
        [
            "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
            "-A OUTPUT -p udp -j ISTIO_OUTPUT"
        ]
    );
    let output = chain(&text, "nat", "ISTIO_OUTPUT");
    let place = |line: &str| output.iter().position(|candidate| candidate == line);
    let excluded = place("-A ISTIO_OUTPUT -d 10.0.0.0/8 -j RETURN").unwrap();
    let dns =
        place("-A ISTIO_OUTPUT -p udp --dport 53 -d 10.0.0.53/32 -j REDIRECT --to-port 15053");
    assert!(excluded < dns.unwrap(), "{output:#?}");
}

#[test]
fn dns_comes_before_excluded_ranges_since_1_25() {
    let text = v4("istio-service-exclude-cidr=10.0.0.0/8 redirect-dns dns=10.0.0.53");
    let output = chain(&text, "nat", "ISTIO_OUTPUT");
    let place = |line: &str| {
        output
            .iter()
            .position(|candidate| candidate == line)
            .unwrap()
    };
    let dns = place("-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS");
    assert!(
        dns < place("-A ISTIO_OUTPUT -d 10.0.0.0/8 -j RETURN"),
        "{output:#?}"
    );
    assert!(
        !text.contains("-p udp --dport 53 -m owner --uid-owner 1337 -j RETURN"),
        "{text}"
    );
}

#[rstest]
#[case("1.23", &["-A PREROUTING -m conntrack --ctstate INVALID -j DROP"], false)]
#[case("1.24", &["-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP"], true)]
fn invalid_packets_have_their_own_chain_since_1_24(
    #[case] istio: &str,
    #[case] prerouting: &[&str],
    #[case] own_chain: bool,
) {
    let text = v4(&format!("istio={istio} drop-invalid"));
    assert_eq!(chain(&text, "mangle", "PREROUTING"), prerouting);
    assert_eq!(has(&text, "-N ISTIO_DROP"), own_chain);
}

#[rstest]
#[case("1.24", "-A OUTPUT -p tcp -j ISTIO_OUTPUT")]
#[case("1.25", "-A OUTPUT -j ISTIO_OUTPUT")]
fn output_is_looked_at_for_every_protocol_since_1_25(#[case] istio: &str, #[case] jump: &str) {
    assert_eq!(
        chain(&v4(&format!("istio={istio}")), "nat", "OUTPUT"),
        [jump]
    );
}

#[test]
fn istio_1_13_knows_no_owner_groups_and_says_so() {
    let words = "ISTIO_OUTBOUND_OWNER_GROUPS=java,202";
    let release = "1.13".parse().unwrap();
    assert_eq!(v4(&format!("istio=1.13 {words}")), v4("istio=1.13"));
    assert_eq!(
        config_of(words).unknown_to(release),
        Some(Warning::NoOwnerGroups(release))
    );
    assert_ne!(v4(&format!("istio=1.14 {words}")), v4("istio=1.14"));
    assert_eq!(config_of(words).unknown_to("1.14".parse().unwrap()), None);
}

#[test]
fn owner_groups_were_asked_again_for_dns_over_udp() {
    let text = v4("istio=1.17 redirect-dns capture-all-dns ISTIO_OUTBOUND_OWNER_GROUPS=1,2");
    let line =
        "-A OUTPUT -p udp --dport 53 -m owner ! --gid-owner 1 -m owner ! --gid-owner 2 -j RETURN";
    assert!(has(&text, line), "{text}");
}
