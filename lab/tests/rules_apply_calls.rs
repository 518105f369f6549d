//! Rules over rules while the pod is called without a break (scenario 16), and a pod that gets the rules of both backends
//! (scenario 17, incident two-backends); and what no second apply finds in place (incident tproxy-rerun).

mod command;

use command::{hoplab, run};
use rstest::rstest;
use serde_json::Value;

fn apply(more: &[&str]) -> (Option<i32>, Value) {
    let ended = run(&mut hoplab(&[&["rules", "apply", "--json"], more].concat()));
    let report = serde_json::from_str(&ended.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended.status.code(), report)
}

/// How the calls of a round ended: taken by the proxy, by the app itself, refused, lost.
fn calls(report: &Value, round: usize) -> [u64; 4] {
    let calls = &report["rounds"][round]["calls"];
    ["proxied", "direct", "refused", "lost"].map(|it| calls[it].as_u64().expect("a number"))
}

/// Rules in the pod after a round.
fn rules(report: &Value, round: usize) -> u64 {
    report["rounds"][round]["rules"].as_u64().expect("a number")
}

#[rstest]
fn one_restore_over_rules_that_are_there_lets_no_call_by(#[values("nft", "legacy")] backend: &str) {
    // Refused, since the chains are there: what an init container that starts again does.
    let (code, report) = apply(&[
        "--istio",
        "1.22",
        "--times",
        "2",
        "--calls",
        "--backend",
        backend,
    ]);
    assert_eq!(code, Some(1), "{report:#}");
    assert!(
        calls(&report, 0)[1] > 0,
        "the pod was open before: {report:#}"
    );
    let [proxied, direct, refused, lost] = calls(&report, 1);
    assert!(proxied > 0, "{report:#}");
    assert_eq!([direct, refused, lost], [0, 0, 0], "{report:#}");
    assert_eq!(rules(&report, 0), rules(&report, 1));
}

#[rstest]
#[case::rule_by_rule_as_linkerd("linkerd", "one-by-one")]
#[case::cleaned_first_as_kuma("kuma", "clean-first")]
fn an_installer_that_takes_rules_away_first_lets_calls_by(
    #[case] profile: &str,
    #[case] manner: &str,
    #[values("nft", "legacy")] backend: &str,
) {
    let (code, report) = apply(&[
        "--rules",
        profile,
        "--manner",
        manner,
        "--times",
        "2",
        "--calls",
        "--backend",
        backend,
    ]);
    assert_eq!(code, Some(0), "{report:#}");
    let [_, direct, ..] = calls(&report, 1);
    assert!(direct > 0, "straight to the app: {report:#}");
    assert_eq!(
        rules(&report, 0),
        rules(&report, 1),
        "the same rules in the end"
    );
}

#[rstest]
fn behind_istios_guardrails_no_call_gets_by_and_some_are_lost(
    #[values("nft", "legacy")] backend: &str,
) {
    let (code, report) = apply(&[
        "--over",
        "profile:istio-1.25",
        "--istio",
        "1.25",
        "--istio-local-exclude-ports",
        "7777",
        "--reconcile",
        "--calls",
        "--backend",
        backend,
    ]);
    assert_eq!(code, Some(0), "{report:#}");
    let [_, direct, _, lost] = calls(&report, 1);
    assert_eq!(direct, 0, "{report:#}");
    assert!(lost > 0, "{report:#}");
}

#[test]
fn a_transaction_of_nft_over_itself_lets_no_call_by() {
    let (code, report) = apply(&["--native-nftables", "--times", "2", "--calls"]);
    assert_eq!(code, Some(0), "{report:#}");
    let [proxied, direct, refused, lost] = calls(&report, 1);
    assert!(proxied > 0, "{report:#}");
    assert_eq!([direct, refused, lost], [0, 0, 0], "{report:#}");
}

#[test]
fn a_second_detection_finds_what_the_first_one_left_and_takes_the_other_backend() {
    let (code, report) = apply(&["--detect", "--times", "2", "--calls"]);
    assert_eq!(code, Some(1), "both backends hold rules: {report:#}");
    let chosen = |round: usize| report["rounds"][round]["detected"]["backend"].clone();
    assert_eq!([chosen(0), chosen(1)], ["nft", "legacy"]);
    let held = report["held"].as_array().expect("a list");
    let of = |backend: &str, what: &str| {
        let one = held.iter().find(|it| it["backend"] == backend);
        one.and_then(|it| it[what].as_u64()).expect("a number")
    };
    assert_eq!(of("nft", "rules"), of("legacy", "rules"), "each a full set");
    // Callers notice nothing, which is why it takes long to be found.
    let [proxied, direct, refused, lost] = calls(&report, 1);
    assert!(proxied > 0, "{report:#}");
    assert_eq!([direct, refused, lost], [0, 0, 0], "{report:#}");
    assert!(of("nft", "came_in") > 0, "{report:#}");
    assert_eq!(
        of("legacy", "came_in"),
        0,
        "nft decides PREROUTING: {report:#}"
    );
}

#[rstest]
fn a_backend_that_is_told_stays_the_only_one(#[values("nft", "legacy")] backend: &str) {
    let (code, report) = apply(&["--times", "2", "--backend", backend]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["rounds"][1]["steps"], Value::Array(Vec::new()));
}

#[rstest]
#[case::tproxy_stacks_them("TPROXY", [Some(2), Some(4), Some(6)])]
#[case::redirect_has_none("REDIRECT", [None, None, None])]
fn every_run_of_init_under_tproxy_adds_its_policy_rules_once_more(
    #[case] mode: &str,
    #[case] expected: [Option<u64>; 3],
) {
    let (code, report) = apply(&[
        "--istio-inbound-interception-mode",
        mode,
        "--ipv6",
        "--times",
        "3",
    ]);
    assert_eq!(code, Some(0), "{report:#}");
    let rounds = report["rounds"].as_array().expect("a list").iter();
    let mark_rules: Vec<_> = rounds.map(|it| it["mark_rules"].as_u64()).collect();
    assert_eq!(
        mark_rules, expected,
        "one for each family and run: {report:#}"
    );
    // The rules themselves are found in place.
    assert_eq!(rules(&report, 0), rules(&report, 2));
}
