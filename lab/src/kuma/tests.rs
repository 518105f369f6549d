//! The default set word for word, and what each option changes.

use rstest::rstest;

use super::{Config, Host, Warning, iptables, restore, restore_command, tries};
use crate::{
    istio::BadValue,
    mesh::Configuration,
    rules::{self, Family},
};

/// What a test renders: `flag=value` words, beside `dns=SERVER`, `docker` and `without=PIECE`.
fn configured(words: &str) -> Result<(Config, Host), BadValue> {
    let (mut config, mut host) = (Config::default(), Host::default());
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "true")) {
            ("dns", server) => assert!(host.dns_servers.push(server)),
            ("docker", _) => host.docker_output.push(Family::V4),
            ("without", "raw") => host.without_raw = true,
            ("without", "mangle") => host.without_mangle = true,
            ("without", "conntrack") => host.without_conntrack = true,
            ("without", "udp") => host.without_udp = true,
            (name, value) => {
                let flag = Config::FLAGS.iter().find(|flag| flag.name == name);
                let values: Vec<&str> = value.split('|').collect();
                flag.expect(name).apply(&mut config, &values)?;
            }
        }
    }
    Ok((config, host))
}

fn warnings(words: &str) -> Vec<Warning> {
    let (config, host) = configured(words).unwrap();
    let mut warnings = Vec::new();
    iptables(&config, &host, &mut warnings);
    warnings
}

/// The restore text, which hoplab's own parser must not refuse.
fn text(words: &str, family: Family) -> String {
    let (config, host) = configured(words).unwrap();
    let text = restore(&iptables(&config, &host, &mut Vec::new()), family);
    // Docker's chain is there before.
    let before = if host.docker_output.contains(&family) {
        "*nat\n:DOCKER_OUTPUT - [0:0]\nCOMMIT\n"
    } else {
        ""
    };
    rules::parse(&format!("{before}{text}"), family, "a generated set").unwrap();
    text
}

/// What comes and goes against the default set: `+` and `-` lines, in the order of the texts.
fn change(words: &str, family: Family) -> String {
    let (before, after) = (text("", family), text(words, family));
    let mut left = with_tables(&before);
    let mut change = String::new();
    for line in with_tables(&after) {
        match left.iter().position(|it| *it == line) {
            // Lines that stay keep their order, so what stands before this one is gone.
            Some(at) => left
                .drain(..=at)
                .take(at)
                .for_each(|(_, it)| change += &format!("- {it}\n")),
            None => change += &format!("+ {}\n", line.1),
        }
    }
    left.iter()
        .for_each(|(_, it)| change += &format!("- {it}\n"));
    change
}

/// Lines with the table they are of: every table has a COMMIT.
fn with_tables(text: &str) -> Vec<(&str, &str)> {
    let mut table = "";
    let tagged = text.lines().map(|line| {
        table = line.strip_prefix("* ").unwrap_or(table);
        (table, line)
    });
    tagged.collect()
}

const K0: &str = "\
* nat
-N KUMA_MESH_INBOUND
-N KUMA_MESH_OUTBOUND
-N KUMA_MESH_INBOUND_REDIRECT
-N KUMA_MESH_OUTBOUND_REDIRECT
-A PREROUTING -p tcp -j KUMA_MESH_INBOUND
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN
-A KUMA_MESH_OUTBOUND -p tcp -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp -o lo -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

#[test]
fn the_default_set_is_kumas_word_for_word() {
    assert_eq!(text("", Family::V4), K0);
    let v6 = K0
        .replace("127.0.0.6/32", "::6/128")
        .replace("127.0.0.1/32", "::1/128");
    assert_eq!(text("", Family::V6), v6);
    assert_eq!(warnings(""), []);
}

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
