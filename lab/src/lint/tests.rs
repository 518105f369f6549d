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

#[test]
fn a_catch_all_before_the_proxys_return_is_an_order_mistake() {
    let set = nat(
        "-A OUTPUT -p tcp -j A\n-A A -j B\n-A A -m owner --uid-owner 1337 -j RETURN\n\
        -A B -p tcp -j REDIRECT --to-ports 15001\n",
    );
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
