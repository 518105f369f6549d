//! Files that someone changed: what does not fit together is refused with its line, what does is judged.

use rstest::rstest;
use serde_json::{Value, json};

use super::{SHOP, judged, lines, place, recorded, refused, text};
use crate::{
    failure::Class,
    judge::{Finding, Judgement, Verdict},
};

/// The file with one value in the nth line of a kind changed.
#[track_caller]
fn changed(kind: &str, nth: usize, pointer: &str, value: Value) -> String {
    let mut lines = lines();
    let at = place(&lines, kind, nth);
    *lines[at].pointer_mut(pointer).expect("such a value") = value;
    text(&lines)
}

/// Everything that does not agree, one line each.
fn findings(judgement: &Judgement) -> String {
    let flows = judgement.flows.iter().flat_map(|flow| &flow.claims);
    let checks = flows.chain(&judgement.run).flat_map(|claim| &claim.checks);
    let found = checks.filter(|check| check.finding != Finding::Agrees);
    found.map(|check| format!("{check}\n")).collect()
}

#[rstest]
#[case::a_counter_more(
    "counters", 0, "/rules/ipv4 nat ISTIO_OUTPUT 4/packets", json!(1),
    Verdict::Refuted,
    "ISTIO_OUTPUT 4"
)]
#[case::a_counter_that_goes_back(
    "counters",
    2,
    "/rules/ipv4 nat PREROUTING 1/packets",
    json!(0),
    Verdict::Unproven,
    "missing nat PREROUTING 1 counted 1 packets, then 0"
)]
#[case::a_total_more(
    "totals", 0, "/counters/shop/0/rules/ipv4 nat ISTIO_OUTPUT 5/packets", json!(7),
    Verdict::Refuted,
    "ISTIO_OUTPUT 5 +0, the sum of the flows, had +7"
)]
#[case::no_totals_of_a_pod(
    "totals", 0, "/counters", json!({}),
    Verdict::Unproven,
    "missing IPv4 counters after the run"
)]
#[case::another_answer(
    "answer", 0, "/outcome/answer/status", json!(503),
    Verdict::Refuted,
    "answer: wanted 200, had 503"
)]
#[case::another_owner(
    "log", 2, "/owner/uid", json!(0),
    Verdict::Refuted,
    "socket owner"
)]
#[case::another_end_of_a_connection(
    "conntrack", 0, "/entries/0/reply/src", json!("10.77.0.11:9080"),
    Verdict::Refuted,
    "conntrack shop: wanted answers come from"
)]
#[case::another_machine(
    "machine", 0, "/kernel", json!("2.6.32"),
    Verdict::Holds,
    ""
)]
fn what_fits_together_is_judged(
    #[case] kind: &str,
    #[case] nth: usize,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] verdict: Verdict,
    #[case] words: &str,
) {
    let recorded = recorded(&changed(kind, nth, pointer, value)).expect("it can be read");
    let judgement = judged(&recorded);
    let found = findings(&judgement);
    assert!(
        judgement.verdict == verdict && found.contains(words),
        "{}: {found}",
        judgement.verdict
    );
}

#[rstest]
#[case::rules_that_were_not_counted(
    "pod", 0, "/rules/ipv4", json!("* nat\nCOMMIT\n"),
    "line 4: the IPv4 rules of shop have the fingerprint"
)]
#[case::rules_that_cannot_be_read(
    "pod", 0, "/rules/ipv4", json!("* nat\n-A OUTPUT --sparkle\nCOMMIT\n"),
    "IPv4 rules of shop:2:"
)]
#[case::counters_without_rules(
    "pod", 0, "/rules", json!({}),
    "line 4: shop has IPv4 counters without rules"
)]
#[case::a_pod_that_the_lab_does_not_have(
    "pod", 1, "/name", json!("till"),
    "line 5: the lab has no pod `till`"
)]
#[case::a_pod_twice(
    "pod", 1, "/name", json!("shop"),
    "line 5: pod shop is there already"
)]
#[case::another_flow(
    "flow", 0, "/flow", json!("shop-to-own-ip"),
    "line 7: flow shop-to-own-ip over IPv4 where flow client-to-shop over IPv4 was to be sent"
)]
#[case::another_family(
    "flow", 0, "/family", json!("ipv6"),
    "line 7: flow client-to-shop over IPv6 where"
)]
#[case::a_request_id_twice(
    "flow", 1, "/request_id", json!("client-to-shop-1"),
    "a flow `client-to-shop-1` is there already"
)]
#[case::another_flow_than_planned(
    "hoplab-evidence", 0, "/flows/2/flow", json!("probe-15090"),
    "flow probe-15008 over IPv4 where flow probe-15090 over IPv4 was to be sent"
)]
#[case::counters_of_a_pod_without_rules(
    "counters", 0, "/pod", json!("client"),
    "client came up without IPv4 rules"
)]
#[case::conntrack_of_no_pod(
    "conntrack", 0, "/pod", json!("till"),
    "no pod `till` came up"
)]
#[case::a_number_that_is_too_large(
    "counters", 0, "/rules/ipv4 nat OUTPUT 1/packets", json!(1e30),
    "invalid type: floating point"
)]
#[case::an_unknown_kind(
    "answer", 0, "/kind", json!("trust-me"),
    "unknown variant `trust-me`"
)]
#[case::a_missing_field(
    "flow-over", 0, "", json!({"kind": "flow-over", "took_us": 7}),
    "missing field `quiet`"
)]
fn what_does_not_fit_together_is_refused_with_its_line(
    #[case] kind: &str,
    #[case] nth: usize,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] words: &str,
) {
    let failure = refused(&changed(kind, nth, pointer, value));
    assert_eq!(failure.class, Class::Input);
    let said = failure.to_string();
    assert!(said.contains(words) && said.contains("line"), "{said}");
}

#[test]
fn a_lab_that_cannot_be_used_is_refused_with_the_place_in_it() {
    let mut lines = lines();
    let lab = &mut lines[1]["text"];
    let toml = lab.as_str().expect("a text");
    *lab = json!(toml.replace("sidecar = true", "sidecar = maybe"));
    let said = refused(&text(&lines)).to_string();
    assert!(said.contains("shop.ndjson line 2: the lab it holds can't be used"));
    assert!(said.contains("./shop.toml:18:11"), "{said}");
}

#[rstest]
#[case::a_flow_taken_out("flow", 1, "flow-over", 1)]
#[case::the_last_flow_taken_out("flow", 2, "flow-over", 2)]
#[case::the_answer_taken_out("answer", 0, "answer", 0)]
#[case::the_lab_taken_out("lab", 0, "lab", 0)]
#[case::the_beginning_of_a_flow_taken_out("flow", 0, "flow", 0)]
fn lines_that_were_taken_out_are_missed(
    #[case] first: &str,
    #[case] nth: usize,
    #[case] last: &str,
    #[case] nth_last: usize,
) {
    let mut lines = lines();
    let (from, to) = (place(&lines, first, nth), place(&lines, last, nth_last));
    lines.drain(from..=to);
    let failure = refused(&text(&lines));
    assert_eq!(failure.class, Class::Input, "{failure}");
}

/// In any place, any line but a reading or a record is one too many when it is there twice.
#[test]
fn a_line_that_is_there_twice_is_refused_or_judged_as_such() {
    let lines = lines();
    for at in 0..lines.len() {
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        if let Ok(recorded) = recorded(&text(&twice)) {
            let kind = &lines[at]["kind"];
            assert_eq!(kind, "log", "line {} twice", at + 1);
            // The same record twice says the same.
            assert_eq!(judged(&recorded).flows.len(), 3);
        }
    }
}

#[test]
fn evidence_of_another_schema_is_refused_by_name_and_with_the_way_out() {
    let other = SHOP.replacen(
        "\"schema\":6,\"hoplab\":\"",
        "\"schema\":9,\"hoplab\":\"7.",
        1,
    );
    let said = refused(&other).to_string();
    assert!(
        said.contains("evidence of schema 9, written by hoplab 7."),
        "{said}"
    );
    assert!(said.contains("reads schema 6"), "{said}");
    assert!(said.contains("help: judge it with hoplab 7."), "{said}");
}

#[rstest]
#[case::nothing("", "it is empty")]
#[case::a_text(
    "Dear judge,\n",
    "its first line is not a value of kind `hoplab-evidence`"
)]
#[case::other_lines("{\"kind\":\"log\",\"schema\":3}\n", "its first line is of kind `log`")]
#[case::one_value_over_many_lines("{\n  \"schema\": 1,\n", "one JSON value over many lines")]
fn what_is_no_evidence_file_is_told_as_such(#[case] text: &str, #[case] words: &str) {
    let failure = refused(text);
    assert_eq!(failure.class, Class::Input);
    assert!(failure.to_string().contains(words), "{failure}");
    assert!(failure.hint.is_some_and(|it| it.contains("--out DIR")));
}
