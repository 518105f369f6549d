//! `hoplab run --all` as CI runs it: what a failing flow is told with, in every form; shares, rounds, and its end.

mod command;

use std::{collections::BTreeSet, fs};

use command::{
    Ended, Running, Scratch, hoplab, run,
    traces::{Traces, children_of},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quick_junit::{Report, TestCaseStatus};
use rstest::rstest;

const LAB: &str = r#"name = "mine"

[rules]
profile = "istio-1.13"

[[pod]]
name = "pod"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "cli"

[[flow]]
name = "proxied"
from = "cli/1000:1000"
to = "pod:9080"
way = "proxied"
hold = "client"
nat.pod = ["PREROUTING 1 > ISTIO_INBOUND 5 > ISTIO_IN_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 1"]

[[step]]
name = "again"
init = "refused"

[[flow]]
name = "held"
from = "cli/1000:1000"
to = "pod:9080"
resume = "client"

[[variant]]
name = "inbound-open"
about = "refutes the first flow, and this file says that it does the second"
edit = ["-D ISTIO_INBOUND 5"]
flows = ["held"]
rule = "ISTIO_INBOUND 5"
"#;

/// Where `LAB` names the flow that fails.
const LINE: &str = "15";

/// The line of a text that begins with a word, without it.
fn told<'a>(text: &'a str, word: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim);
    let found = lines.find_map(|line| line.strip_prefix(word));
    found
        .unwrap_or_else(|| panic!("no `{word}` in\n{text}"))
        .trim()
}

#[test]
fn a_flow_that_fails_is_told_with_hop_rule_and_commands_in_every_form() {
    let scratch = Scratch::new();
    let lab = scratch.file("mine.toml", LAB);
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (junit, summary, out) = (path("junit.xml"), path("summary.md"), path("out"));
    let mut command = hoplab(&["run", "--all", &lab, "--backend", "nft", "--family", "ipv4"]);
    command
        .args(["--junit", &junit, "--markdown", &summary, "--out", &out])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", path("step.md"));
    let ended = run(&mut command);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");

    let text = &ended.stdout;
    assert!(text.contains(&format!("({lab}:{LINE})")), "{text}");
    assert_eq!(told(text, "expected"), "proxied");
    assert!(told(text, "observed").starts_with("direct"), "{text}");
    assert!(told(text, "hop").ends_with("in pod"), "{text}");
    let rule = "nat ISTIO_INBOUND 5 `-p tcp -j ISTIO_IN_REDIRECT`: the pod does not hold it";
    assert_eq!(told(text, "rule"), rule);
    assert!(
        text.contains("1 of 2 cases are not as expected; 2 cases, 4 flows in"),
        "{text}"
    );
    assert!(
        told(text, "enter").ends_with("--keep; hoplab shell pod"),
        "{text}"
    );

    let mut alone = told(text, "alone").split(' ');
    assert_eq!(alone.next(), Some("hoplab"));
    let again = run(&mut hoplab(&alone.collect::<Vec<_>>()));
    again.failed_with(
        1,
        &["not as variant inbound-open says: flow proxied: Refuted"],
    );

    let annotation = format!(
        "::error file={lab},line={LINE},title=mine.inbound-open (nft%2C IPv4)%3A proxied::"
    );
    assert!(ended.stderr.contains(&annotation), "{}", ended.stderr);
    let markdown = fs::read_to_string(&summary).expect("it was written");
    assert!(markdown.contains(rule), "{markdown}");
    assert_eq!(fs::read_to_string(path("step.md")).ok(), Some(markdown));

    let xml = fs::read_to_string(&junit).expect("it was written");
    let report = Report::deserialize_from_str(&xml).expect("it is JUnit");
    assert_eq!(cases(&report), expected_cases());
    let failed = report.test_suites.iter().flat_map(|it| &it.test_cases);
    let failed = failed.filter_map(|it| match &it.status {
        TestCaseStatus::NonSuccess { description, .. } => Some((it, description.clone())),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed.len(), 2, "{xml}");
    let (case, description) = &failed[0];
    assert!(
        description
            .as_ref()
            .is_some_and(|it| it.as_str().contains(rule)),
        "{xml}"
    );
    let hops = case.system_out.as_ref().map(|it| it.as_str());
    assert!(
        hops.is_some_and(|it| it.contains("accept") && it.contains("leg 1")),
        "{xml}"
    );
    assert_eq!(case.extra.get("line").map(|it| it.as_str()), Some(LINE));

    let kept: Vec<_> = fs::read_dir(&out).expect("it was made").flatten().collect();
    assert_eq!(kept.len(), 1, "evidence is kept of what failed");
    let evidence = kept[0].path().join("evidence.ndjson").display().to_string();
    assert_eq!(
        run(&mut hoplab(&["judge", &evidence])).status.code(),
        Some(1)
    );
    let refused = run(&mut hoplab(&["run", "--all", &lab, "--out", &out]));
    refused.failed_with(2, &["is not empty", "never overwritten"]);
}

fn cases(report: &Report) -> BTreeSet<(String, String)> {
    let all = report.test_suites.iter().flat_map(|it| &it.test_cases);
    let class = |it: &quick_junit::TestCase| it.classname.as_ref().map(|it| it.to_string());
    all.map(|it| (class(it).unwrap_or_default(), it.name.to_string()))
        .collect()
}

fn expected_cases() -> BTreeSet<(String, String)> {
    let classes = ["mine.as-it-is", "mine.inbound-open"].into_iter();
    let names = ["proxied", "held", "the whole run"];
    let of = |class: &'static str| names.map(|it| (class.to_owned(), format!("{it} (nft, IPv4)")));
    classes.flat_map(of).collect()
}

/// A rule that matches every other time in the mean: the kernel throws the dice, and no file says how they fall.
const DICE: &str = "*nat\n:ISTIO_IN_REDIRECT - [0:0]\n\
    -A PREROUTING -p tcp --dport 9080 -m statistic --mode random --probability 0.5 -j REDIRECT --to-ports 15006\n\
    COMMIT\n";

const FLAKY: &str = r#"name = "flaky"

[rules]
file = "dice.rules"

[[pod]]
name = "pod"
sidecar = true
app = { port = 9080 }

[[pod]]
name = "cli"

[[flow]]
name = "call"
from = "cli/1000:1000"
to = "pod:9080"
"#;

#[test]
fn rounds_tell_which_case_came_out_otherwise_in_which_round() {
    let scratch = Scratch::new();
    scratch.file("dice.rules", DICE);
    let lab = scratch.file("flaky.toml", FLAKY);
    // All alike: once in half a million.
    let args = [
        "run",
        "--all",
        &lab,
        "--backend",
        "nft",
        "--family",
        "ipv4",
        "--repeat",
        "20",
        "--json",
    ];
    let ended = run(&mut hoplab(&args));
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let json = json(&ended);
    assert_eq!(json["figures"]["flows"], 20);
    let flaky = &json["flaky"][0];
    assert_eq!(flaky["case"], "flaky.as-it-is (nft, IPv4)", "{json:#}");
    assert!(flaky["round"].as_u64().is_some_and(|it| it > 1), "{json:#}");
    assert_ne!(flaky["first"], flaky["now"]);
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"))
}

#[test]
fn shares_of_a_suite_play_each_case_once() {
    let scratch = Scratch::new();
    let lab = scratch.file("mine.toml", LAB);
    let share = |share: &str| {
        let args = [
            "run",
            "--all",
            &lab,
            "--backend",
            "nft",
            "--partition",
            share,
            "--json",
        ];
        let json = json(&run(&mut hoplab(&args)));
        let cases = json["cases"].as_array().cloned().unwrap_or_default();
        let name = |it: &serde_json::Value| format!("{} {}", it["variant"], it["family"]);
        cases.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(share("count:1/2"), [r#"null "ipv4""#, r#"null "ipv6""#]);
    let second = [r#""inbound-open" "ipv4""#, r#""inbound-open" "ipv6""#];
    assert_eq!(share("count:2/2"), second);
}

#[rstest]
#[case::share(&["--partition", "5/4"], "is no share")]
#[case::empty_share(&["--partition", "9/9"], "this share has no case")]
#[case::flow(&["--flow", "held"], "--flow does not go with --all")]
#[case::list(&["--configurations", "/nonexistent.txt"], "could not read /nonexistent.txt")]
fn what_does_not_go_is_told_before_anything_is_up(#[case] more: &[&str], #[case] words: &str) {
    let scratch = Scratch::new();
    let lab = scratch.file("mine.toml", LAB);
    let mut args = vec!["run", "--all", &lab, "--backend", "nft"];
    args.extend(more);
    run(&mut hoplab(&args)).failed_with(2, &[words]);
}

#[test]
fn when_the_time_is_over_what_was_not_played_is_told() {
    let scratch = Scratch::new();
    let lab = scratch.file("mine.toml", LAB);
    let ended = run(&mut hoplab(&["run", "--all", &lab, "--time-limit", "0"]));
    ended.failed_with(5, &["the time is over: 8 of 8 cases were not played"]);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let scratch = Scratch::new();
    let lab = scratch.file("mine.toml", LAB);
    let mut command = hoplab(&["run", "--all", &lab]);
    command
        .env("HOPLAB_FREEZE_AT", "flow")
        .env("HOPLAB_ORPHAN_GRACE_MS", "200");
    let mut running = Running::start(&mut command);
    running.says("frozen at flow");
    let labs: Vec<i32> = children_of(running.pid()).collect();
    let traces: Vec<Traces> = labs.iter().map(|it| Traces::of(*it)).collect();
    assert!(!traces.is_empty());
    kill(Pid::from_raw(running.pid()), Signal::SIGINT).expect("it runs");
    let ended = running.ended();
    assert_eq!(ended.status.code(), Some(130), "{ended:#?}");
    for it in traces {
        it.assert_vanish();
    }
}
