//! `hoplab rules mutate` and `cover`: whether flows notice mistakes, and which rules they met.

use crate::{command::Scratch, ending, json, says};

#[test]
fn of_the_eighteen_deletions_fifteen_are_noticed_and_istios_probe_notices_three() {
    let ended = ending(
        0,
        "mutate istio-1.13 --only ipv4 --kind deleted --probe istio --sample 0 --json",
        &[],
    );
    let value = json(&ended);
    let score = &value["score"];
    assert_eq!(
        (
            &score["killed"],
            &score["equivalent"],
            &score["survived"],
            &score["probe"]
        ),
        (&15.into(), &3.into(), &0.into(), &3.into()),
        "{value:#}"
    );
}

#[test]
fn a_suite_that_misses_a_mistake_is_told_the_flow_that_would_notice() {
    let scratch = Scratch::new();
    let taken = ending(0, "snapshot istio-1.13 --only ipv4", &[]);
    // Of all flows those from outside.
    let mut flows = taken.stdout.split("\n\n");
    let head = flows.next().expect("a head");
    let outside: Vec<&str> = flows.filter(|it| it.starts_with("tcp in=")).collect();
    let file = scratch.file(
        "outside.snapshot",
        &format!("{head}\n\n{}\n", outside.join("\n\n")),
    );
    let ended = ending(
        1,
        "mutate istio-1.13 --only ipv4 --kind deleted --suite",
        &[&file],
    );
    says(&ended, "would tell");
    says(&ended, "7 killed, 3 equivalent, 8 survived");
}

#[test]
fn rules_that_no_flow_meets_are_told_with_what_takes_their_packets() {
    let ended = ending(0, "cover istio-1.13 --only ipv4 --sample 0", &[]);
    says(&ended, "15 of 18 rules met");
    for place in [5, 6, 8] {
        let rule = format!("IPv4 nat ISTIO_OUTPUT {place}: ");
        says(&ended, &rule);
    }
}

#[test]
fn what_a_run_did_not_meet_is_told_with_a_flow_that_would() {
    let evidence = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/evidence/file/tests/shop.ndjson"
    );
    let ended = ending(1, "cover --evidence", &[evidence]);
    says(&ended, "  reachable: tcp ");
}

#[test]
fn a_mistake_in_rules_of_nft_is_one_in_both_families() {
    let ended = ending(0, "mutate istio-nft --kind deleted --sample 0 --json", &[]);
    let value = json(&ended);
    let mutants = value["mutants"].as_array().expect("a list");
    let fate = |rule: &str| {
        let of = |it: &&serde_json::Value| {
            let words = it["mutant"].as_str().expect("words");
            words.contains(rule).then_some(words).is_some()
        };
        let found = mutants.iter().find(of).expect("a mutant of every rule");
        (found["mutant"].clone(), found["fate"].clone())
    };
    let (words, captured) = fate("deleted `counter jump istio-redirect`");
    assert_eq!(captured, "killed");
    assert!(words.to_string().contains("IPv4 and IPv6 nat"), "{words}");
    assert_eq!(fate("ip6 saddr ::6/128 counter return").1, "killed");
    assert_eq!(value["score"]["survived"], 0);
}

#[test]
fn a_limit_of_time_names_what_was_not_tried_and_a_seed_picks_it() {
    let picked = |seed: &str| {
        let more = ["--seed", seed];
        let ended = ending(
            5,
            "mutate linkerd --limit 4 --for 1ms --sample 0 --json",
            &more,
        );
        let value = json(&ended);
        assert_eq!(value["mutants"], serde_json::json!([]));
        let left = value["not_tried"].as_array().expect("a list").clone();
        assert_eq!(left.len(), 4);
        left
    };
    let (one, other) = (picked("1"), picked("2"));
    assert_eq!(one, picked("1"));
    assert_ne!(one, other);
}

#[test]
fn lab_files_are_a_suite_and_what_they_miss_is_told_by_the_flow_that_notices() {
    let lab = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../scenarios/labs/incidents/no-exit-rule.toml"
    );
    let ended = ending(
        1,
        "mutate istio-1.13 --only ipv4 --sample 0 --json --kind",
        &["deleted `-A ISTIO_OUTPUT", "--suite", lab],
    );
    let value = json(&ended);
    let score = |name: &str| value["score"][name].as_u64().expect("a number");
    assert_eq!(
        [score("killed"), score("missed"), score("equivalent")],
        [1, 5, 3],
        "{value:#}"
    );
    assert_eq!(value["labs"]["left_out"], serde_json::json!([]));
    // Without its way out the proxy would call itself without end: one connection comes back, and is refused.
    let loops = &value["mutants"][0];
    assert_eq!(loops["fate"], "killed-by-lab", "{loops:#}");
    assert_eq!(loops["flow"], "cli-to-pod");
    assert_eq!(loops["loops"], 1, "{loops:#}");
    let connections = loops["connections"].as_u64().expect("a number");
    assert!(connections < 5, "{loops:#}");
    let missed = value["mutants"].as_array().expect("a list").iter();
    let missed = missed.filter(|it| it["fate"] == "missed");
    for it in missed {
        assert!(it["by"].as_str().is_some_and(|by| by.starts_with("tcp ")));
    }
}

#[test]
fn lab_files_that_expect_other_rules_are_no_suite() {
    let lab = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../scenarios/labs/ambient.toml"
    );
    let ended = ending(2, "mutate kuma --only ipv4 --suite", &[lab]);
    assert!(
        ended.stderr.contains("holds under profile:kuma"),
        "{}",
        ended.stderr
    );
}
