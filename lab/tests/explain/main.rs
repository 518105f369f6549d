//! `hoplab explain` and golden paths: one real connection, hop by hop, and what a changed rule does to its path.

#[path = "../command/mod.rs"]
mod command;
mod controls;
mod modes;
mod ports;
mod words;

use std::fs;

use command::{Ended, SMALL, Scratch, hoplab, run};
use rstest::rstest;
use serde_json::Value;

/// Witnesses of a hop, by name.
fn witnesses(hop: &Value) -> Vec<&str> {
    let all = hop["witnesses"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

/// Fails unless nobody contradicts, at least two saw each hop, and most of those that match a rule were seen by three.
#[track_caller]
fn is_sound(path: &Value) {
    for way in ["there", "back"] {
        for hop in hops(path, way) {
            assert_eq!(hop.get("contradictions"), None, "{hop:#}");
            assert!(witnesses(hop).len() >= 2, "{hop:#}");
            let of_rule = hop["event"] == "rule";
            let enough = ["trace", "counter", "model"];
            assert!(
                !of_rule || enough.iter().all(|it| witnesses(hop).contains(it)),
                "{hop:#}"
            );
        }
    }
    assert_eq!((path.get("lost"), path.get("open")), (None, None));
}

/// The rules an inbound call meets, in order: table, chain, place and text.
const CAPTURED: [&str; 5] = [
    "nat PREROUTING 1 -p tcp -j ISTIO_INBOUND",
    "nat ISTIO_INBOUND 5 -p tcp -j ISTIO_IN_REDIRECT",
    "nat ISTIO_IN_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15006",
    "nat OUTPUT 1 -p tcp -j ISTIO_OUTPUT",
    "nat ISTIO_OUTPUT 1 -s LOCAL -o lo -j RETURN",
];

fn captured(local: &str) -> Vec<String> {
    let rules = CAPTURED.iter();
    rules.map(|it| it.replace("LOCAL", local)).collect()
}

fn explain(lab: &str, args: &[&str]) -> Ended {
    let all = [&["explain", "--lab", lab], args].concat();
    run(&mut hoplab(&all))
}

#[track_caller]
fn value(ended: &Ended) -> Value {
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("one value")
}

/// Hops of a path in one direction, `there` or `back`, leg by leg.
fn hops<'a>(path: &'a Value, way: &str) -> Vec<&'a Value> {
    let list = |value: &'a Value| value.as_array().into_iter().flatten();
    let legs = list(&path["legs"]);
    let pods = legs.flat_map(|leg| list(&leg[way]));
    pods.flat_map(|pod| list(&pod["hops"])).collect()
}

fn rules(path: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    let there = hops(path, "there").into_iter();
    let rules = there.filter(|hop| hop["event"] == "rule");
    let texts = rules.map(|hop| {
        let (table, chain) = (word(&hop["table"]), word(&hop["chain"]));
        format!("{table} {chain} {} {}", hop["ordinal"], word(&hop["text"]))
    });
    texts.collect()
}

#[rstest]
#[case::nft_ipv4("nft", "ipv4", "127.0.0.6/32")]
#[case::nft_ipv6("nft", "ipv6", "::6/128")]
#[case::legacy_ipv4("legacy", "ipv4", "127.0.0.6/32")]
#[case::legacy_ipv6("legacy", "ipv6", "::6/128")]
fn a_call_meets_the_same_rules_on_every_backend_and_family_and_the_trace_saw_each(
    #[case] backend: &str,
    #[case] family: &str,
    #[case] local: &str,
) {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let flags = ["--backend", backend, "--family", family, "--json"];
    let path = value(&explain(
        &lab,
        &[&["caller -> called:9080"][..], &flags].concat(),
    ));
    assert_eq!(path["answer"], "200");
    assert_eq!(rules(&path), captured(local));
    is_sound(&path);
    // No rule is asked on the way back: conntrack restores the port where the answer leaves.
    let back = hops(&path, "back");
    assert!(back.iter().all(|hop| hop["event"] != "rule"), "{back:#?}");
    let restored = back.iter().filter(|hop| hop.get("changes").is_some());
    let at: Vec<_> = restored
        .map(|hop| (&hop["hook"], &hop["changes"][0]["after"]))
        .collect();
    let [(hook, after)] = at[..] else {
        panic!("{at:?}")
    };
    assert_eq!(hook, "postrouting");
    assert!(
        after.as_str().is_some_and(|it| it.ends_with(":9080")),
        "{after}"
    );
}

#[rstest]
#[case::in_one_word(&["caller -> called:9080"])]
#[case::in_two(&["caller", "called:9080"])]
#[case::in_three(&["caller", "->", "called:9080"])]
#[case::by_its_name(&["call"])]
fn a_flow_is_named_in_every_usual_way(#[case] words: &[&str]) {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let path = value(&explain(&lab, &[words, &["--json"]].concat()));
    assert_eq!(rules(&path), captured("127.0.0.6/32"));
}

#[test]
fn the_rule_that_did_not_match_says_what_it_wanted_and_what_it_had() {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let said = explain(&lab, &["call"]);
    said.failed_with(0, &[]);
    let tried =
        "✗  3 -p tcp -m tcp --dport 15021 -j RETURN  wanted destination port 15021, had 9080";
    assert!(said.stdout.contains(tried), "{}", said.stdout);
    let quiet = explain(&lab, &["call", "-q"]);
    assert!(!quiet.stdout.contains('✗'), "{}", quiet.stdout);
    assert!(
        quiet.stdout.contains("✔  5 -p tcp -j ISTIO_IN_REDIRECT"),
        "{}",
        quiet.stdout
    );
}

#[rstest]
#[case::nft("nft")]
#[case::legacy("legacy")]
fn a_dropped_packet_ends_at_the_rule_that_dropped_it(#[case] backend: &str) {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let text = "*filter\n-A INPUT -p tcp -m tcp --dport 9080 -j DROP\nCOMMIT\n";
    let rules_file = scratch.file("drop.rules", text);
    let flags = [
        "--rules",
        &rules_file,
        "--backend",
        backend,
        "--deadline",
        "300",
    ];
    let said = explain(&lab, &[&["call", "--json"][..], &flags].concat());
    let path: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|_| panic!("{}{}", said.stdout, said.stderr));
    assert_ne!(path["answer"], "200");
    let dropped = "filter INPUT 1 -p tcp -m tcp --dport 9080 -j DROP";
    assert_eq!(rules(&path), [dropped]);
    let last = *hops(&path, "there").last().expect("hops");
    assert_eq!(last["verdict"], "drop", "{last:#}");
}

#[test]
fn a_recorded_flow_is_explained_as_the_one_that_was_sent() {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let file = scratch.path().join("evidence.ndjson").display().to_string();
    let ran = run(&mut hoplab(&["run", &lab, "--evidence", &file]));
    ran.failed_with(0, &[]);
    let said = run(&mut hoplab(&["explain", "--from", &file, "call", "--json"]));
    assert_eq!(rules(&value(&said)), captured("127.0.0.6/32"));
    let unknown = run(&mut hoplab(&["explain", "--from", &file, "cal"]));
    unknown.failed_with(2, &["cal", "call"]);
}

#[test]
fn without_traces_the_path_is_the_same_and_fewer_saw_it() {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", SMALL);
    let file = scratch.path().join("evidence.ndjson").display().to_string();
    let ran = run(&mut hoplab(&[
        "run",
        &lab,
        "--no-trace",
        "--evidence",
        &file,
    ]));
    ran.failed_with(0, &[]);
    let path = value(&run(&mut hoplab(&[
        "explain", "--from", &file, "call", "--json",
    ])));
    assert_eq!(rules(&path), captured("127.0.0.6/32"));
    let text = path.to_string();
    assert!(
        !text.contains("\"trace\"") && text.contains("\"counter\""),
        "{path:#}"
    );
}

#[test]
fn a_golden_path_is_recorded_and_a_changed_rule_shows_as_a_difference() {
    let scratch = Scratch::new();
    let lab = scratch.file("small.toml", &format!("paths = \"paths\"\n{SMALL}"));
    let record = run(&mut hoplab(&["run", &lab, "--record"]));
    record.failed_with(0, &["recorded"]);
    let golden = scratch.path().join("paths/small.path");
    let text = fs::read_to_string(&golden).expect("it was recorded");
    assert!(
        text.contains("nat ISTIO_INBOUND: -p tcp -m tcp --dport 15021 -j RETURN"),
        "{text}"
    );
    // The same traffic again, ports and ids of its own; and over the other backend.
    for backend in ["nft", "legacy"] {
        run(&mut hoplab(&["run", &lab, "--backend", backend])).failed_with(0, &[]);
    }
    let changed = text.replace("--dport 15021 -j RETURN", "--dport 15021 -j ACCEPT");
    fs::write(&golden, &changed).expect("it can be written");
    let ended = run(&mut hoplab(&["run", &lab]));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    for wanted in [
        "the path of probe (IPv4) is not the golden one",
        "-    called          PREROUTING  nat ISTIO_INBOUND: -p tcp -m tcp --dport 15021 -j ACCEPT",
        "+    called          PREROUTING  nat ISTIO_INBOUND: -p tcp -m tcp --dport 15021 -j RETURN",
        "1 of the golden paths in small.path differ",
    ] {
        assert!(
            squeezed(&ended.stdout).contains(&squeezed(wanted)),
            "{wanted}\n{}",
            ended.stdout
        );
    }
    assert!(
        !ended.stdout.contains("the path of call "),
        "{}",
        ended.stdout
    );
    assert_eq!(fs::read_to_string(&golden).expect("it is there"), changed);
}

/// Words apart by one blank each: how wide a column is depends on the names in it.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
