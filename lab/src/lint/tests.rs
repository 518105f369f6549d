use rstest::rstest;

use super::*;
use crate::rules::tests::istio;
use crate::rules::{Family, Table, parse};

fn check(sets: &[RuleSet]) -> Vec<(Mistake, String)> {
    let findings = lint(sets, Proxy::ISTIO).into_iter();
    findings.map(|it| (it.mistake, it.rule.short())).collect()
}

fn nat(lines: &str) -> RuleSet {
    let text = format!("*nat\n-N A\n-N B\n{lines}COMMIT\n");
    parse(&text, Family::V4, "test").unwrap_or_else(|error| panic!("{error}"))
}

fn without_families(sets: &[RuleSet]) -> Vec<(Mistake, String)> {
    let mut findings = check(sets);
    findings.retain(|(mistake, _)| *mistake != Mistake::FamilyLeftOpen);
    findings
}

#[test]
fn the_three_dead_rules_of_istio_are_found_with_what_takes_their_packets() {
    let findings = lint(&[istio(Family::V4), istio(Family::V6)], Proxy::ISTIO);
    let v4 = findings.iter().filter(|it| it.rule.family == Family::V4);
    let v4: Vec<String> = v4.map(ToString::to_string).collect();
    insta::assert_snapshot!(v4.join("\n"), @r"
    IPv4 nat ISTIO_OUTPUT 5: never-matches: ISTIO_OUTPUT 1, 2, 3 take every packet it asks for
      -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
      shown by tcp 127.0.0.1:40000 -> 127.0.0.6:9080 of 1000:1337 out by lo at OUTPUT
    IPv4 nat ISTIO_OUTPUT 6: never-matches: ISTIO_OUTPUT 1, 2, 3, 4 take every packet it asks for
      -A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
      shown by tcp 127.0.0.1:40000 -> 127.0.0.1:9080 of 1000:1000 out by lo at OUTPUT
    IPv4 nat ISTIO_OUTPUT 8: never-matches: ISTIO_OUTPUT 1, 3, 4 take every packet it asks for, and all of them leave by lo
      -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
      shown by tcp 127.0.0.1:40000 -> 127.0.0.1:9080 of 1000:1000 out by lo at OUTPUT
    ");
    assert_eq!(findings.len(), 6);
}

#[test]
fn a_family_without_rules_is_left_open() {
    let found = check(&[istio(Family::V4)]);
    let open: Vec<&str> = found
        .iter()
        .filter(|(mistake, _)| *mistake == Mistake::FamilyLeftOpen)
        .map(|(_, rule)| rule.as_str())
        .collect();
    assert_eq!(open, ["ISTIO_IN_REDIRECT 1", "ISTIO_REDIRECT 1"]);
}

#[rstest]
#[case::of_everything("-j B")]
#[case::of_all_that_enters_the_chain("-p tcp -j B")]
fn a_catch_all_before_the_proxys_return_is_an_order_mistake(#[case] catch_all: &str) {
    let set = nat(&format!(
        "-A OUTPUT -p tcp -j A\n-A A {catch_all}\n-A A -m owner --uid-owner 1337 -j RETURN\n\
        -A B -p tcp -j REDIRECT --to-ports 15001\n",
    ));
    let found = without_families(&[set]);
    let expected = [
        (Mistake::Order, "A 2".to_owned()),
        (Mistake::ProxyToItself, "B 1".to_owned()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn circles_and_jumps_to_nowhere_are_found() {
    let set = nat("-A OUTPUT -j A\n-A A -j B\n-A B -o lo -j A\n");
    assert_eq!(check(&[set]), [(Mistake::Loop, "B 1".to_owned())]);
    let mut set = nat("-A OUTPUT -j ACCEPT\n");
    let table = set.tables.get_mut(&Table::Nat).expect("nat is there");
    table.chain_or_new("OUTPUT").rules[0].spec.target = crate::rules::Target::Jump("C".to_owned());
    assert_eq!(
        check(&[set]),
        [(Mistake::JumpToNowhere, "OUTPUT 1".to_owned())]
    );
}

#[test]
fn a_rule_that_depends_on_what_is_not_tried_is_not_called_dead() {
    let set = nat(
        "-A OUTPUT -m mark --mark 1 -j A\n-A A -o lo -j RETURN\n-A OUTPUT -o eth9 -j RETURN\n\
        -A OUTPUT -p icmp -j RETURN\n",
    );
    assert_eq!(check(&[set]), []);
}

fn parsed(text: &str) -> RuleSet {
    parse(text, Family::V4, "test").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn dead_rules_are_found_in_every_table_and_at_every_hook() {
    let set = parsed(
        "*filter\n-A INPUT -p tcp -j ACCEPT\n-A INPUT -p tcp --dport 80 -j DROP\n-A INPUT -p udp -j DROP\nCOMMIT\n\
        *mangle\n-A POSTROUTING -o lo -j ACCEPT\n-A POSTROUTING -o lo -d 10.0.0.1 -j ACCEPT\n\
        -A POSTROUTING -o eth0 -d 10.0.0.1 -j ACCEPT\nCOMMIT\n",
    );
    let findings = lint(&[set], Proxy::ISTIO);
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(findings.join("\n"), @r"
    IPv4 mangle POSTROUTING 2: never-matches: POSTROUTING 1 takes every packet it asks for
      -A POSTROUTING -d 10.0.0.1/32 -o lo -j ACCEPT
      shown by tcp 10.0.0.1:40000 -> 10.0.0.1:9080 of 1000:1000 out by lo at POSTROUTING
    IPv4 filter INPUT 2: never-matches: INPUT 1 takes every packet it asks for
      -A INPUT -p tcp -m tcp --dport 80 -j DROP
      shown by tcp 192.0.2.2:40000 -> 192.0.2.2:80 in by lo at INPUT
    ");
}

#[test]
fn what_nat_turned_may_still_meet_a_rule_of_filter() {
    // After REDIRECT, filter OUTPUT sees a destination on loopback with the interface it had before.
    let set = parsed("*filter\n-A OUTPUT -o eth0 -d 127.0.0.1/32 -j DROP\nCOMMIT\n");
    assert_eq!(check(&[set]), []);
}

#[test]
fn an_owner_by_name_may_be_anybody() {
    let set = nat("-A OUTPUT -m owner --uid-owner somebody -j RETURN\n");
    assert_eq!(check(&[set]), []);
}

#[test]
fn too_many_addresses_are_not_searched_and_it_says_so() {
    let lines = (0..250).map(|last| {
        format!(
            "-A OUTPUT -d 10.0.0.{last} -p tcp --dport {} -j RETURN\n",
            1000 + 5 * last
        )
    });
    let set = nat(&lines.collect::<String>());
    assert_eq!(not_searched(&set), [Table::Nat]);
    assert_eq!(check(&[set]), []);
    assert_eq!(not_searched(&istio(Family::V4)), []);
}

#[test]
fn what_one_backend_refuses_is_found_when_it_is_asked_about() {
    use crate::rules::Backend;
    let set = nat("-A OUTPUT -p tcp -j TRACE\n-A OUTPUT -p udp -j DROP\n");
    let found = |backends: &[Backend]| {
        let findings = refused(&set, backends).into_iter();
        findings
            .map(|it| it.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(found(&[Backend::Legacy]), @r"
    IPv4 nat OUTPUT 1: refused: iptables-legacy refuses it: TRACE works in the raw table only
      -A OUTPUT -p tcp -j TRACE
      shown by tcp 192.0.2.2:40000 -> 192.0.2.2:9080 of 1000:1000 out by lo at OUTPUT
    IPv4 nat OUTPUT 2: refused: iptables-legacy refuses it: the nat table is not for filtering, DROP is inhibited there
      -A OUTPUT -p udp -j DROP
      shown by udp 192.0.2.2:40000 -> 192.0.2.2:9080 of 1000:1000 out by lo at OUTPUT
    ");
    insta::assert_snapshot!(found(&Backend::ALL), @r"
    IPv4 nat OUTPUT 2: refused: iptables refuses it: the nat table is not for filtering, DROP is inhibited there
      -A OUTPUT -p udp -j DROP
      shown by udp 192.0.2.2:40000 -> 192.0.2.2:9080 of 1000:1000 out by lo at OUTPUT
    ");
}

#[test]
fn a_circle_is_shown_by_a_packet_that_enters_it() {
    let set = nat("-A OUTPUT -j A\n-A A -o lo -j B\n-A B -j A\n");
    let finding = lint(&[set], Proxy::ISTIO).remove(0);
    assert_eq!(finding.mistake, Mistake::Loop);
    let (hook, packet) = finding.packet.expect("it is shown");
    assert_eq!(
        (hook, packet.out_iface.as_deref()),
        (Hook::Output, Some("lo"))
    );
}
