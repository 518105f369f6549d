//! The default set word for word, what each option changes, and what the historic set does to traffic.

use rstest::rstest;

use super::{
    Config, Mode, PortSpan, Warning, cleanup, commands, multiports, restore, sysctl, warnings,
};
use crate::{
    istio::BadValue,
    mesh::Configuration,
    model::{Hook, Outcome, Packet, PodAddresses, evaluate, interesting_packets},
    rules::{self, Difference, Family, Protocol, RuleSet, Table},
};

fn configured(words: &str) -> Result<Config, BadValue> {
    let mut config = Config::default();
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, "true"));
        let flag = Config::FLAGS.iter().find(|flag| flag.name == name);
        flag.expect(name).apply(&mut config, &[value])?;
    }
    Ok(config)
}

fn config(words: &str) -> Config {
    configured(words).unwrap()
}

fn parsed(config: &Config, family: Family) -> RuleSet {
    rules::parse(&restore(config), family, "a generated set").unwrap()
}

fn l1() -> Config {
    Config {
        self_redirect: true,
        ipv6: false,
        ..Config::default()
    }
}

const L0: &str = "\
*nat
-N PROXY_INIT_REDIRECT
-A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN
-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143
-A PREROUTING -j PROXY_INIT_REDIRECT
-N PROXY_INIT_OUTPUT
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN
-A PROXY_INIT_OUTPUT -o lo -j RETURN
-A PROXY_INIT_OUTPUT -p tcp --match multiport --dports 4567,4568 -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140
-A OUTPUT -j PROXY_INIT_OUTPUT
COMMIT
";

/// The rules of one chain.
fn chain(words: &str, chain: &str) -> Vec<String> {
    let config = config(words);
    // hoplab's own parser must not refuse any of it.
    parsed(&config, Family::V4);
    let start = format!("-A {chain} ");
    let text = restore(&config);
    text.lines()
        .filter_map(|line| line.strip_prefix(&start))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_default_set_is_linkerds_word_for_word_and_both_families_get_it() {
    assert_eq!(restore(&Config::default()), L0);
    assert_eq!(Config::default().families(), [Family::V4, Family::V6]);
    assert_eq!(config("ipv6=false").families(), [Family::V4]);
    for family in [Family::V4, Family::V6] {
        assert_eq!(parsed(&Config::default(), family).len(), 8);
    }
}

#[rstest]
#[case::group("proxy-gid=3000", [
    "-m owner --uid-owner 2102 -j RETURN",
    "-m owner --gid-owner 3000 -j RETURN",
    "-o lo -j RETURN",
    "-p tcp --match multiport --dports 4567,4568 -j RETURN",
    "-p tcp -j REDIRECT --to-port 4140",
].as_slice())]
#[case::nothing_ignored("outbound-ports-to-ignore= outgoing-proxy-port=1 proxy-uid=7", [
    "-m owner --uid-owner 7 -j RETURN",
    "-o lo -j RETURN",
    "-p tcp -j REDIRECT --to-port 1",
].as_slice())]
fn outbound_options_have_their_place(#[case] words: &str, #[case] expected: &[&str]) {
    assert_eq!(chain(words, "PROXY_INIT_OUTPUT"), expected);
}

#[rstest]
#[case::subnets("subnets-to-ignore=10.0.0.0/8,192.168.0.0/16", [
    "-p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN",
    "-p all -j RETURN -s 10.0.0.0/8",
    "-p all -j RETURN -s 192.168.0.0/16",
    "-p tcp -j REDIRECT --to-port 4143",
].as_slice())]
#[case::some_ports("ports-to-redirect=80,443 subnets-to-ignore=10.0.0.0/8 incoming-proxy-port=9", [
    "-p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN",
    "-p all -j RETURN -s 10.0.0.0/8",
    "-p tcp --destination-port 80 -j REDIRECT --to-port 9",
    "-p tcp --destination-port 443 -j REDIRECT --to-port 9",
].as_slice())]
#[case::a_list_of_its_own("inbound-ports-to-ignore=22,80-90", [
    "-p tcp --match multiport --dports 22,80:90 -j RETURN",
    "-p tcp -j REDIRECT --to-port 4143",
].as_slice())]
fn inbound_options_have_their_place(#[case] words: &str, #[case] expected: &[&str]) {
    assert_eq!(chain(words, "PROXY_INIT_REDIRECT"), expected);
}

fn spans(list: &str) -> Vec<PortSpan> {
    list.split(',')
        .map(|item| PortSpan::read(item).expect(item))
        .collect()
}

#[rstest]
#[case::fifteen("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", &["1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"])]
#[case::sixteen("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", &["1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "16"])]
#[case::a_range_costs_two("1,2,3,4,5,6,7,8,9,10,11,12,13,14,20-30,40", &["1,2,3,4,5,6,7,8,9,10,11,12,13,14", "20:30,40"])]
#[case::a_range_of_one_costs_one("1,2,3,4,5,6,7,8,9,10,11,12,13,14,20-20", &["1,2,3,4,5,6,7,8,9,10,11,12,13,14,20"])]
#[case::eight_ranges("1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16", &["1:2,3:4,5:6,7:8,9:10,11:12,13:14", "15:16"])]
fn a_rule_holds_fifteen_ports(#[case] list: &str, #[case] expected: &[&str]) {
    assert_eq!(multiports(&spans(list)), expected);
}

#[test]
fn what_is_no_port_is_dropped_with_a_warning() {
    let config = config("inbound-ports-to-ignore=22,http,90-80,70000 ipv6=false");
    assert!(
        restore(&config).contains("--dports 22 -j RETURN"),
        "{}",
        restore(&config)
    );
    let dropped = |item: &str| Warning::PortDropped {
        flag: "inbound-ports-to-ignore",
        item: item.into(),
    };
    assert_eq!(warnings(&config), ["http", "90-80", "70000"].map(dropped));
}

#[test]
fn one_list_of_subnets_for_both_families_fails_in_one_of_them() {
    let config = config("subnets-to-ignore=10.0.0.0/8");
    let warnings: Vec<String> = warnings(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "--subnets-to-ignore counts for inbound traffic only, by its source",
            "ip6tables refuses -s 10.0.0.0/8, and proxy-init fails when the IPv4 rules are in place already: it gives both families the same list",
        ]
    );
    // hoplab's parser agrees with ip6tables.
    assert!(rules::parse(&restore(&config), Family::V6, "it").is_err());
}

#[rstest]
#[case("proxy-uid=0", "what proxy-init writes for root is not known here")]
#[case("ports-to-redirect=80-90", "it is no such number")]
#[case("incoming-proxy-port=0", "nothing listens on port 0")]
#[case(
    "subnets-to-ignore=10.0.0.1",
    "no prefix length (`/32` is one address)"
)]
#[case("iptables-mode=nftables", "proxy-init knows no such mode")]
#[case("netns=", "it is no path of a namespace")]
#[case("timeout-close-wait-secs=1h", "it is no such number")]
fn a_value_proxy_init_fails_on_is_refused(#[case] words: &str, #[case] why: &str) {
    assert_eq!(configured(words).unwrap_err().why, why);
}

#[test]
fn each_rule_is_a_command() {
    let config = config(
        "iptables-mode=plain use-wait-flag netns=/proc/7/ns/net timeout-close-wait-secs=3600",
    );
    let all = commands(&config, Family::V6, &RuleSet::empty(Family::V6));
    assert_eq!(all.len(), 10);
    assert_eq!(
        all[0],
        "nsenter --net=/proc/7/ns/net -- ip6tables -t nat -N PROXY_INIT_REDIRECT -w"
    );
    assert_eq!(
        sysctl(&config).unwrap(),
        "nsenter --net=/proc/7/ns/net -- sysctl -w net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600"
    );
    let plain = commands(&Config::default(), Family::V4, &RuleSet::empty(Family::V4));
    let words: String = plain
        .iter()
        .map(|it| it.replacen("iptables-legacy -t nat ", "", 1) + "\n")
        .collect();
    assert_eq!(format!("*nat\n{words}COMMIT\n"), L0);
    assert_eq!(sysctl(&Config::default()), None);
}

#[test]
fn a_second_run_flushes_chains_and_adds_no_second_jump() {
    let config = Config::default();
    let again = commands(&config, Family::V4, &parsed(&config, Family::V4));
    assert_eq!(again.len(), 8, "{again:?}");
    assert_eq!(again[0], "iptables-legacy -t nat -F PROXY_INIT_REDIRECT");
    assert_eq!(again[3], "iptables-legacy -t nat -F PROXY_INIT_OUTPUT");
    assert!(
        !again
            .iter()
            .any(|it| it.contains(" -N ") || it.contains("PREROUTING")),
        "{again:?}"
    );
}

#[test]
fn cleaning_up_takes_jumps_then_rules_then_chains() {
    let words: Vec<String> = cleanup(&Config::default(), Family::V4)
        .iter()
        .map(|it| it.replacen("iptables-legacy -t nat ", "", 1))
        .collect();
    assert_eq!(words[0], "-D PREROUTING -j PROXY_INIT_REDIRECT");
    assert_eq!(words[1], "-D OUTPUT -j PROXY_INIT_OUTPUT");
    let verbs: Vec<&str> = words.iter().map(|it| &it[..2]).collect();
    assert_eq!(verbs, ["-D", "-D", "-F", "-F", "-X", "-X"]);
}

#[rstest]
#[case(Mode::Legacy, &[Mode::Legacy, Mode::Nft], Some(Mode::Legacy))]
#[case(Mode::Legacy, &[Mode::Nft, Mode::Plain], Some(Mode::Nft))]
#[case(Mode::Legacy, &[Mode::Plain], Some(Mode::Plain))]
#[case(Mode::Nft, &[Mode::Legacy], Some(Mode::Legacy))]
#[case(Mode::Nft, &[], None)]
fn a_missing_program_is_replaced(
    #[case] asked: Mode,
    #[case] installed: &[Mode],
    #[case] taken: Option<Mode>,
) {
    assert_eq!(asked.settle(|mode| installed.contains(&mode)), taken);
}

#[test]
fn the_historic_set_has_exactly_one_more_rule_which_comes_first() {
    let (old, new) = (
        parsed(&l1(), Family::V4),
        parsed(&Config::default(), Family::V4),
    );
    let differences = rules::diff(&new, &old, &Table::ALL);
    let [Difference::Extra { rule, text }] = &differences[..] else {
        panic!("{differences:?}");
    };
    assert_eq!(rule.short(), "PROXY_INIT_OUTPUT 1");
    assert!(text.contains("-j PROXY_INIT_REDIRECT"), "{text}");
    let ipv6_too = Config { ipv6: true, ..l1() };
    assert_eq!(warnings(&ipv6_too), [Warning::SelfRedirectIsV4]);
}

/// What becomes of a packet, whichever rule decides it.
fn fate(rules: &RuleSet, hook: Hook, packet: &Packet) -> String {
    match evaluate(rules, Table::Nat, hook, packet).decided {
        Outcome::Accepted { .. } => "left alone".into(),
        Outcome::Redirected { ports, .. } => format!("to {}", ports.expect("a port").first()),
        other => panic!("{other}"),
    }
}

#[test]
fn of_all_packets_the_sets_tell_apart_only_the_proxys_calls_to_its_own_pod_change() {
    let (old, new) = (
        parsed(&l1(), Family::V4),
        parsed(&Config::default(), Family::V4),
    );
    let pod = "10.244.1.20".parse().unwrap();
    let addresses = PodAddresses {
        pod,
        other: "10.244.2.20".parse().unwrap(),
    };
    // The historic set names all the other one names, and one address more.
    let packets =
        interesting_packets(&old, Table::Nat, addresses).expect("small enough to try them all");
    let mut changed = 0;
    for (hook, packet) in &packets {
        let (before, after) = (fate(&old, *hook, packet), fate(&new, *hook, packet));
        let own_pod = *hook == Hook::Output
            && packet.protocol == Protocol::Tcp
            && packet.owner.is_some_and(|(uid, _)| uid == 2102)
            && packet.dst.ip() == pod;
        let ignored = [4190, 4191, 4567, 4568].contains(&packet.dst.port());
        if own_pod && !ignored {
            assert_eq!(
                (before.as_str(), after.as_str()),
                ("to 4143", "left alone"),
                "{packet:?}"
            );
            changed += 1;
        } else {
            assert_eq!(before, after, "{hook} {packet:?}");
        }
    }
    assert!(changed > 0);
    let ignored = |(_, packet): &&(Hook, Packet)| packet.dst.port() == 4190;
    assert!(
        packets.iter().any(|it| ignored(&it)),
        "ignored ports are not tried"
    );
}
