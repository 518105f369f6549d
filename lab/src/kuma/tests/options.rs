//! Options one by one: what comes and goes.

use super::*;

#[rstest]
#[case::inbound_off(
    "redirect-inbound=false",
    "\
+ -A KUMA_MESH_INBOUND -p tcp -j RETURN
- -A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
"
)]
#[case::outbound_ports_included(
    "include-outbound-ports=80,443",
    "\
+ -A KUMA_MESH_OUTBOUND -p tcp --dport 80 -j KUMA_MESH_OUTBOUND_REDIRECT
+ -A KUMA_MESH_OUTBOUND -p tcp --dport 443 -j KUMA_MESH_OUTBOUND_REDIRECT
- -A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
"
)]
#[case::inbound_ports_excluded(
    "exclude-inbound-ports=22,15020",
    "\
+ -A KUMA_MESH_INBOUND -p tcp --dport 22 -j RETURN
+ -A KUMA_MESH_INBOUND -p tcp --dport 15020 -j RETURN
"
)]
#[case::inbound_ports_included(
    "include-inbound-ports=80,81 exclude-inbound-ports=22",
    "\
+ -A KUMA_MESH_INBOUND -p tcp --dport 80 -j KUMA_MESH_INBOUND_REDIRECT
+ -A KUMA_MESH_INBOUND -p tcp --dport 81 -j KUMA_MESH_INBOUND_REDIRECT
- -A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
"
)]
#[case::outbound_ports_excluded(
    "exclude-outbound-ports=5432|6379",
    "\
+ -A KUMA_MESH_OUTBOUND -p tcp --dport 5432 -j RETURN
+ -A KUMA_MESH_OUTBOUND -p tcp --dport 6379 -j RETURN
"
)]
#[case::for_uids(
    "exclude-outbound-ports-for-uids=tcp:53,3000-5000:106-108|1900",
    "\
+ -I OUTPUT 1 -m multiport -p tcp --dport 53,3000:5000 -m owner --uid-owner 106:108 -j RETURN
+ -I OUTPUT 2 -m multiport -p tcp --dport 1:65535 -m owner --uid-owner 1900 -j RETURN
+ -I OUTPUT 3 -m multiport -p udp --dport 1:65535 -m owner --uid-owner 1900 -j RETURN
"
)]
#[case::all_dns(
    "redirect-all-dns-traffic",
    "\
+ * raw
+ -A PREROUTING -p udp --sport 53 -j CT --zone 1
+ -A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1
+ -A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2
+ -A OUTPUT -p udp --dport 53 -j CT --zone 2
+ COMMIT
+ -I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
+ -I OUTPUT 2 -p udp --dport 53 -j REDIRECT --to-ports 15053
+ -A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
"
)]
#[case::no_zones(
    "redirect-all-dns-traffic skip-dns-conntrack-zone-split redirect-dns-port=5353",
    "\
+ -I OUTPUT 1 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN
+ -I OUTPUT 2 -p udp --dport 53 -j REDIRECT --to-ports 5353
+ -A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN
"
)]
#[case::inserted(
    "insert-inbound-redirect insert-outbound-redirect",
    "\
+ -I PREROUTING 1 -p tcp -j KUMA_MESH_INBOUND
+ -I OUTPUT 1 -p tcp -j KUMA_MESH_OUTBOUND
- -A PREROUTING -p tcp -j KUMA_MESH_INBOUND
- -A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
"
)]
#[case::logged(
    "iptables-logs",
    "\
+ -A PREROUTING -j LOG --log-prefix PREROUTING: --log-level 7
+ -I OUTPUT 1 -j LOG --log-prefix OUTPUT: --log-level 7
"
)]
#[case::invalid_dropped(
    "drop-invalid-packets",
    "\
+ * mangle
+ -A PREROUTING -m conntrack --ctstate INVALID -j DROP
+ COMMIT
"
)]
#[case::invalid_not_dropped("drop-invalid-packets without=mangle", "")]
#[case::waiting("wait=9 wait-interval=10 max-retries=0 sleep-between-retries=1s", "")]
#[case::ports(
    "redirect-inbound-port=1 redirect-outbound-port=2",
    "\
+ -A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 1
+ -A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 2
- -A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
- -A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"
)]
fn an_option_changes_the_same_lines_in_both_families(
    #[case] words: &str,
    #[case] expected: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    assert_eq!(change(words, family), expected);
}

#[rstest]
#[case::v4(Family::V4, "127.0.0.1/32", "127.0.0.6/32")]
#[case::v6(Family::V6, "::1/128", "::6/128")]
fn without_outbound_capture_the_chain_returns_everything(
    #[case] family: Family,
    #[case] lo: &str,
    #[case] passthrough: &str,
) {
    let change = change("redirect-outbound=false exclude-outbound-ports=80", family);
    assert_eq!(change, format!("\
+ -A KUMA_MESH_OUTBOUND -p tcp -j RETURN
- -A KUMA_MESH_OUTBOUND -s {passthrough} -o lo -j RETURN
- -A KUMA_MESH_OUTBOUND -p tcp -o lo ! -d {lo} -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
- -A KUMA_MESH_OUTBOUND -p tcp -o lo -m owner ! --uid-owner 5678 -j RETURN
- -A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
- -A KUMA_MESH_OUTBOUND -d {lo} -j RETURN
- -A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
"));
}

#[rstest]
#[case::v4(Family::V4, "10.0.0.0/8", "10.1.2.3")]
#[case::v6(Family::V6, "fd00::/8", "fd00::1")]
fn addresses_go_to_the_rules_of_their_family(
    #[case] family: Family,
    #[case] range: &str,
    #[case] address: &str,
) {
    let words = "exclude-inbound-ips=10.0.0.0/8,fd00::/8 exclude-outbound-ips=fd00::1,10.1.2.3";
    assert_eq!(
        change(words, family),
        format!(
            "\
+ -I OUTPUT 1 -d {address} -j RETURN
+ -A KUMA_MESH_INBOUND -s {range} -j RETURN
"
        )
    );
}

#[test]
fn excluded_sources_stand_ahead_of_included_ports_and_excluded_ports_ahead_of_all() {
    let text = text(
        "include-inbound-ports=80 exclude-inbound-ips=10.0.0.9 exclude-outbound-ports=81",
        Family::V4,
    );
    let first = |chain: &str| {
        text.lines()
            .find(|line| line.starts_with(&format!("-A {chain} ")))
    };
    assert_eq!(
        first("KUMA_MESH_INBOUND"),
        Some("-A KUMA_MESH_INBOUND -s 10.0.0.9 -j RETURN")
    );
    assert_eq!(
        first("KUMA_MESH_OUTBOUND"),
        Some("-A KUMA_MESH_OUTBOUND -p tcp --dport 81 -j RETURN")
    );
}

#[rstest]
#[case::v4(Family::V4, "172.18.0.0/16", "172.17.0.0/16")]
#[case::v6(Family::V6, "fd18::/64", "fd17::/64")]
fn networks_stand_first_by_interface_and_the_jump_is_inserted_behind_them(
    #[case] family: Family,
    #[case] bridge: &str,
    #[case] docker: &str,
) {
    let words = "vnet=docker0:172.17.0.0/16|br+:172.18.0.0/16|docker0:fd17::/64|br+:fd18::/64 iptables-logs";
    let text = text(words, family);
    let prerouting: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" PREROUTING "))
        .collect();
    assert_eq!(
        prerouting,
        [
            "-A PREROUTING -j LOG --log-prefix PREROUTING: --log-level 7".to_owned(),
            "-I PREROUTING 1 -i br+ -m udp -p udp --dport 53 -j REDIRECT --to-ports 15053"
                .to_owned(),
            format!("-I PREROUTING 2 ! -d {bridge} -i br+ -p tcp -j REDIRECT --to-ports 15001"),
            "-I PREROUTING 3 -i docker0 -m udp -p udp --dport 53 -j REDIRECT --to-ports 15053"
                .to_owned(),
            format!("-I PREROUTING 4 ! -d {docker} -i docker0 -p tcp -j REDIRECT --to-ports 15001"),
            "-I PREROUTING 5 -p tcp -j KUMA_MESH_INBOUND".to_owned(),
        ]
    );
    assert_eq!(
        warnings("vnet=br+:172.18.0.0/16"),
        [Warning::VnetWithoutDns("br+".into(), 15053)]
    );
}

#[test]
fn inserts_of_output_are_numbered_in_generation_order() {
    let words = "iptables-logs exclude-outbound-ports-for-uids=tcp:1:2 exclude-outbound-ips=10.0.0.0/8 \
        redirect-all-dns-traffic insert-outbound-redirect";
    let text = text(words, Family::V4);
    let nat = text.split_once("* nat").unwrap().1;
    let output: Vec<&str> = nat
        .lines()
        .filter(|line| line.contains(" OUTPUT "))
        .collect();
    assert_eq!(
        output,
        [
            "-I OUTPUT 1 -j LOG --log-prefix OUTPUT: --log-level 7",
            "-I OUTPUT 2 -m multiport -p tcp --dport 1 -m owner --uid-owner 2 -j RETURN",
            "-I OUTPUT 3 -d 10.0.0.0/8 -j RETURN",
            "-I OUTPUT 4 -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN",
            "-I OUTPUT 5 -p udp --dport 53 -j REDIRECT --to-ports 15053",
            "-A OUTPUT -p tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN",
            "-I OUTPUT 6 -p tcp -j KUMA_MESH_OUTBOUND",
        ]
    );
    assert_eq!(warnings(words), [Warning::InsertTakesTcpDns]);
}

#[test]
fn tables_are_raw_nat_mangle_and_ipv4_alone_is_possible() {
    let words = "redirect-all-dns-traffic drop-invalid-packets";
    let text_of = text(words, Family::V4);
    let tables: Vec<&str> = text_of
        .lines()
        .filter(|line| line.starts_with('*'))
        .collect();
    assert_eq!(tables, ["* raw", "* nat", "* mangle"]);
    assert_eq!(text("ip-family-mode=ipv4", Family::V6), "");
    assert_eq!(text("ip-family-mode=ipv4", Family::V4), K0);
}

#[test]
fn another_user_is_another_user_in_every_rule() {
    let words = "redirect-all-dns-traffic kuma-dp-user=7777";
    let default = text("redirect-all-dns-traffic", Family::V4);
    assert_eq!(default.matches("5678").count(), 7);
    assert_eq!(text(words, Family::V4), default.replace("5678", "7777"));
}
