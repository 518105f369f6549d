//! DNS: which servers, which zones, and Docker's rules beside.

use super::*;

#[rstest]
#[case::v4(Family::V4, ["10.96.0.10", "127.0.0.11"], "127.0.0.1/32")]
#[case::v6(Family::V6, ["fd00::a", "::1"], "::1/128")]
fn listed_dns_names_each_server_of_the_family(
    #[case] family: Family,
    #[case] servers: [&str; 2],
    #[case] lo: &str,
) {
    let [first, second] = servers;
    let words = "redirect-dns dns=10.96.0.10 dns=fd00::a dns=127.0.0.11 dns=::1";
    assert_eq!(
        change(words, family),
        format!(
            "\
+ * raw
+ -A PREROUTING -s {first} -p udp --sport 53 -j CT --zone 1
+ -A PREROUTING -s {second} -p udp --sport 53 -j CT --zone 1
+ -A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
+ -A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
+ -A OUTPUT -d {first} -p udp --dport 53 -j CT --zone 2
+ -A OUTPUT -d {second} -p udp --dport 53 -j CT --zone 2
+ -A OUTPUT -s {second} -d {lo} -p udp -j CT --zone 1
+ COMMIT
+ -I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
+ -I OUTPUT 2 -d {first} -p udp --dport 53 -j REDIRECT --to-ports 15053
+ -I OUTPUT 3 -d {second} -p udp --dport 53 -j REDIRECT --to-ports 15053
+ -A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
"
        )
    );
}

#[test]
fn a_family_without_a_server_gets_no_dns_rule_and_a_warning() {
    let words = "redirect-dns dns=10.96.0.10";
    assert_eq!(change(words, Family::V6), "");
    assert_eq!(warnings(words), [Warning::NoDnsServer(Family::V6)]);
}

#[rstest]
#[case("without=raw", "there is no raw table")]
#[case("without=conntrack", "the match conntrack is missing")]
#[case("without=udp", "the match udp is missing")]
fn zones_are_given_up_with_a_warning_where_a_piece_is_missing(
    #[case] lacks: &str,
    #[case] why: &'static str,
) {
    let words = format!("redirect-all-dns-traffic {lacks}");
    assert!(!text(&words, Family::V4).contains("raw"));
    let expected = [Family::V4, Family::V6].map(|family| Warning::NoZones { family, why });
    assert_eq!(warnings(&words), expected);
}

#[test]
fn in_a_docker_network_the_proxys_queries_go_on_to_dockers_rules() {
    let listed = text("redirect-dns dns=127.0.0.11 docker", Family::V4);
    let jump = "-I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j DOCKER_OUTPUT";
    assert!(listed.lines().any(|line| line == jump), "{listed}");
    assert!(listed.contains("* raw"), "{listed}");
    let all = text("redirect-all-dns-traffic docker", Family::V4);
    assert!(all.contains(jump) && !all.contains("* raw"), "{all}");
    let why = "all DNS is captured and nat holds DOCKER_OUTPUT";
    let family = Family::V4;
    assert_eq!(
        warnings("redirect-all-dns-traffic docker"),
        [
            Warning::NeedsDockerOutput(family),
            Warning::NoZones { family, why }
        ]
    );
}
