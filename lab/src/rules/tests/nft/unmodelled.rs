//! What is not modelled is kept and flagged; what is set aside is said.

use super::*;

#[rstest]
#[case(
    "limit rate 5/second counter accept",
    "limit rate 5/second",
    "-j ACCEPT"
)]
#[case("ip daddr @probes accept", "ip daddr @probes", "-j ACCEPT")]
#[case(
    "ip daddr { 1.1.1.1, 2.2.2.2 } accept",
    "ip daddr { 1.1.1.1, 2.2.2.2 }",
    "-j ACCEPT"
)]
#[case(
    "meta l4proto { tcp, udp } accept",
    "meta l4proto { tcp, udp }",
    "-j ACCEPT"
)]
#[case("skuid { 1, 2 } accept", "skuid { 1, 2 }", "-j ACCEPT")]
#[case("ct status dnat jump sub", "ct status dnat", "-j sub")]
#[case(
    "tcp dport vmap { 22 : accept, 23 : drop }",
    "tcp dport vmap { 22 : accept, 23 : drop }",
    "-j nft"
)]
#[case("queue num 0", "queue num 0", "-j nft")]
#[case("log prefix \"x\" accept", "log prefix \\\"x\\\" accept", "-j nft")]
#[case(
    "meta mark set 1 tcp dport 80 accept",
    "meta mark set 1 tcp dport 80 accept",
    "-j nft"
)]
#[case("tproxy to :15006", "tproxy to :15006", "-j nft")]
#[case("redirect to :1-2 random", "redirect to :1-2 random", "-j nft")]
#[case("frobnicate the packet", "frobnicate the packet", "-j nft")]
fn what_is_not_modelled_is_kept_word_for_word(
    #[case] rule: &str,
    #[case] kept: &str,
    #[case] target: &str,
) {
    let spec = seen(Family::V4, "inet", rule).spec;
    assert!(!spec.is_modelled());
    let text = spec_text("OUTPUT", &spec);
    assert!(
        text.contains(&format!("--expr \"{kept}\"")) || text.contains(&format!("--expr {kept}")),
        "{text}"
    );
    assert!(text.contains(target), "{text}");
}

#[test]
fn a_counter_before_a_question_is_no_count_of_the_rule() {
    let rule = seen(
        Family::V4,
        "inet",
        "counter packets 9 bytes 9 tcp dport 80 accept",
    );
    assert_eq!((rule.counters, rule.spec.is_modelled()), (None, false));
    let text = spec_text("OUTPUT", &rule.spec);
    assert!(text.contains("counter packets 9 bytes 9"), "{text}");
}

fn remarks(text: &str) -> Vec<String> {
    let document = read(text, "x.nft", Family::V4).unwrap_or_else(|error| panic!("{error}"));
    document.remarks.iter().map(ToString::to_string).collect()
}

#[rstest]
#[case::a_set(
    "table inet t {\n set probes {\n type ipv4_addr\n }\n}\n",
    "x.nft:2:2: `set probes` is set aside"
)]
#[case::another_hook(
    "table inet t {\n chain c {\n type filter hook prerouting priority 0;\n accept\n }\n}\n",
    "x.nft:2:8: chain `c` is set aside: raw, mangle, nat and filter have no chain of type filter at prerouting"
)]
#[case::a_dormant_table(
    "table inet t {\n flags dormant\n}\n",
    "x.nft:1:12: table `inet t` is set aside: it is dormant"
)]
#[case::no_ip(
    "table arp t {\n}\n",
    "x.nft:1:11: table `arp t` is set aside: it is not of IPv4 or IPv6"
)]
#[case::iptables(
    "table ip nat {\n chain OUTPUT {\n type nat hook output priority -100;\n skuid != 1337 accept\n }\n}\n",
    "x.nft:1:10: table `ip nat` looks like one of iptables"
)]
fn what_is_set_aside_is_said_with_its_place(#[case] text: &str, #[case] said: &str) {
    let remarks = remarks(text);
    assert!(
        remarks.iter().any(|it| it.starts_with(said)),
        "{remarks:#?}"
    );
}

/// nft translates xt_owner's `!` to its own, which is another question.
#[test]
fn an_inverted_owner_in_a_table_of_iptables_is_not_taken_for_nfts() {
    let text = "table ip nat {\n chain OUTPUT {\n type nat hook output priority -100;\n skuid != 1 accept\n skuid 1 accept\n }\n}\n";
    let sets = sets(text);
    let modelled: Vec<bool> = sets[0]
        .rules(Table::Nat)
        .map(|(_, it)| it.spec.is_modelled())
        .collect();
    assert_eq!(modelled, [false, true]);
}

#[test]
fn matches_of_iptables_in_json_are_named_and_not_modelled() {
    let text = r#"{"nftables": [{"table": {"family": "ip", "name": "nat"}},
        {"chain": {"family": "ip", "table": "nat", "name": "OUTPUT", "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "OUTPUT", "expr": [{"xt": {"type": "match", "name": "owner"}}, {"counter": {"packets": 0, "bytes": 0}}, {"xt": {"type": "target", "name": "REDIRECT"}}]}}]}"#;
    let (_, rule) = sets(text)[0]
        .rules(Table::Nat)
        .next()
        .map(|(id, it)| (id, it.clone()))
        .expect("one rule");
    assert_eq!(
        spec_text("OUTPUT", &rule.spec),
        "-A OUTPUT -m nft --expr \"xt match owner\" -j nft --expr \"xt target REDIRECT\""
    );
    assert!(
        remarks(text)[0].contains("read them with `iptables-save`"),
        "{:?}",
        remarks(text)
    );
}
