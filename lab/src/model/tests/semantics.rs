//! How rules work, whatever they are for.

use super::*;

fn out(lines: &str) -> Traversal {
    ask(
        &nat(lines),
        &cast(Family::V4).outbound(cast(Family::V4).pod, cast(Family::V4).other, 80, APP),
    )
}

fn moved(traversal: &Traversal) -> Vec<String> {
    traversal.moved().iter().map(RuleId::short).collect()
}

#[test]
fn return_resumes_the_caller_and_then_its_policy() {
    let traversal =
        out("-A OUTPUT -j A\n-A OUTPUT -o lo\n-A OUTPUT\n-A A -j RETURN\n-A A -j DROP\n");
    assert_eq!(moved(&traversal), ["OUTPUT 1", "A 1", "OUTPUT 3"]);
    assert_eq!(
        traversal.decided.to_string(),
        "accepted by the policy of OUTPUT"
    );
}

#[test]
fn return_in_a_builtin_chain_is_its_policy() {
    let traversal = out(":OUTPUT DROP\n-A OUTPUT -j RETURN\n-A OUTPUT -j ACCEPT\n");
    assert_eq!(
        traversal.decided.to_string(),
        "dropped by the policy of OUTPUT"
    );
}

#[test]
fn goto_returns_to_the_caller_of_its_chain() {
    let traversal =
        out("-A OUTPUT -j A\n-A OUTPUT -j DROP\n-A A -g B\n-A A -j ACCEPT\n-A B -j RETURN\n");
    assert_eq!(moved(&traversal), ["OUTPUT 1", "A 1", "B 1", "OUTPUT 2"]);
    let traversal = out("-A OUTPUT -g A\n-A OUTPUT -j DROP\n");
    assert_eq!(
        traversal.decided.to_string(),
        "accepted by the policy of OUTPUT"
    );
}

#[test]
fn a_packet_without_a_socket_meets_inverted_owner_rules_only() {
    let rules = nat(
        "-A OUTPUT -m owner --uid-owner 0-4294967295 -j DROP\n-A OUTPUT -m owner ! --uid-owner 1337 -j A\n",
    );
    let (hook, packet) =
        cast(Family::V4).outbound(cast(Family::V4).pod, cast(Family::V4).other, 80, APP);
    let traversal = ask(
        &rules,
        &(
            hook,
            Packet {
                owner: None,
                ..packet
            },
        ),
    );
    assert_eq!(moved(&traversal), ["OUTPUT 2"]);
    let reason = traversal
        .mismatch(&id(Family::V4, "OUTPUT", 1))
        .map(Mismatch::to_string);
    assert_eq!(
        reason.as_deref(),
        Some("wanted owner uid 0-4294967295, had no socket")
    );
}

#[test]
fn a_rule_not_understood_is_unknown_unless_something_else_fails() {
    let traversal = out(
        "-A OUTPUT -o lo -m limit --limit 1/s -j DROP\n-A OUTPUT -m limit --limit 1/s -j DROP\n",
    );
    let expected = "unknown at nat OUTPUT 2: `-m limit --limit 1/s` is not modelled";
    assert_eq!(traversal.decided.to_string(), expected);
    assert_eq!(traversal.tried.len(), 2);
    let traversal = out("-A OUTPUT -p tcp -j NETMAP --to 1.2.3.0/24\n");
    assert_eq!(
        traversal.decided.to_string(),
        "unknown at nat OUTPUT 1: target `NETMAP --to 1.2.3.0/24` is not modelled"
    );
    let traversal = out("-A OUTPUT -m owner --uid-owner java -j DROP\n");
    assert!(matches!(traversal.decided, Outcome::Unknown { .. }));
}

#[test]
fn marks_states_and_interfaces_are_compared_as_the_kernel_does() {
    let traversal = out(
        "-A OUTPUT -m mark ! --mark 0x0/0xff -j DROP\n-A OUTPUT -m conntrack ! --ctstate NEW,RELATED\n\
        -A OUTPUT -i lo\n-A OUTPUT -o eth+\n-A OUTPUT ! -i lo\n-A OUTPUT -p tcp ! --sport 1:65535\n",
    );
    assert_eq!(moved(&traversal), ["OUTPUT 4", "OUTPUT 5"]);
    let reason = |ordinal| {
        traversal
            .mismatch(&id(Family::V4, "OUTPUT", ordinal))
            .map(Mismatch::to_string)
    };
    assert_eq!(
        [1, 2, 3, 6].map(|it| reason(it).unwrap_or_default()),
        [
            "wanted mark !0x0/0xff, had 0x0",
            "wanted state !NEW,RELATED, had NEW",
            "wanted in lo, had none",
            "wanted source port !1:65535, had 40000"
        ]
    );
}

#[test]
fn chains_that_call_themselves_end_as_unknown() {
    let traversal = out("-A OUTPUT -j A\n-A A -j B\n-A B -j A\n");
    assert_eq!(
        traversal.decided.to_string(),
        "unknown at nat B 1: chain `A` calls itself; the kernel refuses such rules"
    );
}

#[test]
fn chains_that_go_to_each_other_in_a_circle_end_too() {
    let traversal = out("-A OUTPUT -j A\n-A A -g B\n-A B -g A\n");
    assert!(matches!(traversal.decided, Outcome::Unknown { .. }));
}

#[test]
fn a_walk_is_a_json_value() {
    let traversal =
        out("-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\n");
    let json = serde_json::to_string(&traversal).expect("it has string keys only");
    assert_eq!(
        serde_json::from_str::<Traversal>(&json).ok(),
        Some(traversal)
    );
}
