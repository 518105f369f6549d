//! `hoplab rules apply`: rules over rules, in a real pod namespace, on both backends.

mod command;

use command::{Ended, Scratch, hoplab, run};
use rstest::rstest;
use serde_json::Value;

fn apply(backend: &str, more: &[&str]) -> (Ended, Value) {
    let args = [&["rules", "apply", "--json", "--backend", backend], more].concat();
    let ended = run(&mut hoplab(&args));
    let report = serde_json::from_str(&ended.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended, report)
}

/// Per round: the rules in the pod afterwards, and whether each restore in it succeeded.
fn rounds(report: &Value) -> Vec<(u64, Vec<bool>)> {
    let rounds = report["rounds"].as_array().expect("a list").iter();
    rounds
        .map(|round| {
            let steps = round["steps"].as_array().expect("a list").iter();
            let restores = steps.filter(|step| {
                let command = step["command"].as_str().expect("a command");
                command.contains("-restore ")
            });
            let ended = restores.map(|step| step["ok"].as_bool().expect("yes or no"));
            (round["rules"].as_u64().expect("a number"), ended.collect())
        })
        .collect()
}

#[rstest]
fn before_1_24_a_second_apply_fails_and_changes_nothing(
    #[values("nft", "legacy")] backend: &str,
    #[values("1.13", "1.23")] release: &str,
) {
    let (ended, report) = apply(backend, &["--istio", release, "--times", "2"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert_eq!(rounds(&report), [(18, vec![true]), (18, vec![false])]);
    let second = &report["rounds"][1]["steps"][0];
    assert_eq!(second["changes"], Value::Array(Vec::new()));
    let words = second["stderr"].as_str().expect("words");
    assert!(words.contains("line 2 failed"), "{words}");
}

#[rstest]
fn since_1_24_a_second_apply_finds_everything_and_does_nothing(
    #[values("nft", "legacy")] backend: &str,
    #[values("1.24", "1.32")] release: &str,
) {
    let (ended, report) = apply(backend, &["--istio", release, "--ipv6", "--times", "2"]);
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(rounds(&report), [(36, vec![true, true]), (36, vec![])]);
    let nothing = serde_json::json!({ "residue": true, "delta": [] });
    assert_eq!(report["rounds"][1]["found"], nothing);
}

#[rstest]
fn forced_it_restores_all_the_same_and_fails(#[values("nft", "legacy")] backend: &str) {
    let (ended, report) = apply(backend, &["--force-apply", "--times", "2"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert_eq!(rounds(&report), [(18, vec![true]), (18, vec![false])]);
}

/// A pod that lost a rule of an own chain and keeps the rest.
fn partial(scratch: &Scratch) -> String {
    let whole = run(&mut hoplab(&[
        "rules",
        "render",
        "-u",
        "1337",
        "-i",
        "*",
        "-b",
        "*",
        "-d",
        "15090,15021,15020",
        "--family",
        "ipv4",
    ]));
    let rest: Vec<&str> = whole
        .stdout
        .lines()
        .filter(|line| !line.contains("--dport 15021"))
        .collect();
    assert_eq!(whole.stdout.lines().count(), rest.len() + 1);
    scratch.file("partial.rules", &(rest.join("\n") + "\n"))
}

#[rstest]
fn over_a_part_of_its_rules_it_fails_without_reconcile_and_mends_with_it(
    #[values("nft", "legacy")] backend: &str,
) {
    let scratch = Scratch::new();
    let over = partial(&scratch);
    let (ended, report) = apply(backend, &["--over", &over]);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert_eq!(rounds(&report), [(17, vec![true]), (17, vec![false])]);
    let (ended, report) = apply(backend, &["--over", &over, "--reconcile"]);
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(rounds(&report), [(17, vec![true]), (18, vec![true])]);
    let delta = &report["rounds"][1]["found"]["delta"];
    assert_eq!(
        delta,
        &serde_json::json!(["IPv4: nat ISTIO_INBOUND has 4 rules, planned are 5"])
    );
    let commands = report["rounds"][1]["steps"].to_string();
    assert!(
        commands.contains("-t filter -A OUTPUT -p tcp -j DROP"),
        "no guardrails: {commands}"
    );
}

#[rstest]
fn reconcile_does_not_get_over_the_rules_of_an_older_release(
    #[values("nft", "legacy")] backend: &str,
) {
    let (ended, report) = apply(backend, &["--over-istio", "1.13", "--reconcile"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let rounds = rounds(&report);
    assert_eq!(
        (&rounds[0], &rounds[1].1),
        (&(18, vec![true]), &vec![false])
    );
    // What is left is a jump into a chain that lost its rules: nothing is captured any more.
    let kept = "-A OUTPUT -p tcp -j ISTIO_OUTPUT";
    let removed = report["rounds"][1]["steps"].to_string();
    assert!(!removed.contains(&format!("- nat {kept}")), "{removed}");
    assert_eq!(rounds[1].0, 1);
    // It is told as what it is.
    let half_done = &report["rounds"][1]["half_done"];
    let wanted = serde_json::json!({
        "before": 18, "now": 1, "planned": 18, "cleaned_up": true, "kept": [format!("IPv4: nat {kept}")],
    });
    assert_eq!(half_done, &wanted);
    let again = ["--over-istio", "1.13", "--reconcile", "--times", "2"];
    let ended = run(&mut hoplab(
        &[&["rules", "apply", "--backend", backend], &again[..]].concat(),
    ));
    let told = "half done: 1 rules, neither the 18 there were nor the 18 planned ones";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    let second = ended.stdout.split("apply 2 of 2").nth(1).expect("a retry");
    assert!(
        second.contains("Chain already exists") || second.contains("-restore: line"),
        "{second}"
    );
    assert!(second.contains("1 rules in the pod"), "{second}");
}

#[rstest]
fn cleaning_up_leaves_nothing(#[values("nft", "legacy")] backend: &str) {
    let tproxy = [
        "--inbound-interception-mode",
        "TPROXY",
        "--redirect-dns",
        "--capture-all-dns",
    ];
    let clean = ["--over-istio", "1.32", "--ipv6", "--cleanup-only"];
    let (ended, report) = apply(backend, &[&clean[..], &tproxy[..]].concat());
    assert!(ended.status.success(), "{ended:#?}");
    let rounds = rounds(&report);
    assert!(rounds[0].0 > 60, "{rounds:?}");
    assert_eq!(rounds[1], (0, vec![]));
}

#[rstest]
fn a_file_is_restored_and_nothing_else(#[values("nft", "legacy")] backend: &str) {
    let scratch = Scratch::new();
    let rules = scratch.file("my.rules", "*nat\n-A OUTPUT -p tcp -j RETURN\nCOMMIT\n");
    let (ended, report) = apply(backend, &["--rules", &rules, "--times", "2"]);
    assert!(ended.status.success(), "{ended:#?}");
    // No chain of its own stands in the way, so the rule is there twice.
    assert_eq!(rounds(&report), [(1, vec![true]), (2, vec![true])]);
}

#[rstest]
#[case::a_flag_from_before_it_was_there(&["--istio", "1.22", "--reconcile"], "Istio 1.22 has no --reconcile")]
#[case::a_file_and_a_flag(&["--rules", "my.rules", "--redirect-dns"], "--rules does not go with --redirect-dns")]
fn what_makes_no_sense_is_refused(#[case] args: &[&str], #[case] complaint: &str) {
    let ended = run(&mut hoplab(&[&["rules", "apply"], args].concat()));
    ended.failed_with(2, &[complaint]);
}

/// Without a backend, which native nft has none of.
fn apply_native(more: &[&str]) -> (Ended, Value) {
    let args = [&["rules", "apply", "--json", "--native-nftables"], more].concat();
    let ended = run(&mut hoplab(&args));
    let report = serde_json::from_str(&ended.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended, report)
}

/// Per round: rules in the pod afterwards.
fn left(report: &Value) -> Vec<u64> {
    let rounds = report["rounds"].as_array().expect("a list").iter();
    rounds
        .map(|it| it["rules"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn native_nft_rules_applied_twice_are_the_rules_applied_once() {
    let (ended, report) = apply_native(&["--times", "2"]);
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(left(&report), [18, 18]);
    assert_eq!(report["backend"]["backend"], "native-nft");
    let second = &report["rounds"][1]["steps"][0];
    assert_eq!(second["changes"], Value::Array(Vec::new()));
}

#[rstest]
#[case::dns("--redirect-dns --capture-all-dns", "istio-proxy-raw", "raw")]
#[case::tproxy("--inbound-interception-mode TPROXY", "istio-proxy-mangle", "mangle")]
fn native_nft_leaves_the_table_of_a_feature_that_is_off_now(
    #[case] feature: &str,
    #[case] table: &str,
    #[case] kind: &str,
) {
    let mut render = vec!["rules", "render", "--native-nftables", "-b", "*", "-i", "*"];
    render.extend(feature.split(' '));
    let old = run(&mut hoplab(&render)).stdout;
    assert!(old.contains(table), "{old}");
    let dir = Scratch::new();
    let path = dir.file("old.nft", &old);
    let (ended, report) = apply_native(&["--over", &path]);
    assert!(ended.status.success(), "{ended:#?}");
    let of_table = old
        .lines()
        .filter(|it| it.contains(&format!(" rule inet {table} ")));
    let rest = u64::try_from(of_table.count()).expect("a few");
    assert_eq!(left(&report)[1], 18 + rest, "what is in {table} stays");
    let changes = report["rounds"][1]["steps"][0]["changes"].to_string();
    assert!(!changes.contains(&format!("- {kind} ")), "{changes}");
}

#[test]
fn cleaning_up_native_nft_rules_takes_every_table() {
    let (ended, report) = apply_native(&["--over-istio", "1.32", "--cleanup-only"]);
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(left(&report), [18, 0]);
}
