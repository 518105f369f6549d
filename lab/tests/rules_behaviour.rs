//! `hoplab rules diff`, `snapshot`, `verify`, `cover` and `mutate` as a person uses them, in real kernels.

mod command;

use rstest::rstest;
use serde_json::Value;

use self::command::{Ended, Scratch, hoplab, run};

fn rules(words: &str, more: &[&str]) -> Ended {
    let mut args = vec!["rules"];
    args.extend(words.split_whitespace());
    args.extend(more);
    run(&mut hoplab(&args))
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.stdout, ended.stderr))
}

/// Every flow that is treated differently.
fn differing(value: &Value) -> Vec<String> {
    let groups = value["differences"].as_array().expect("a list");
    let flows = groups.iter().flat_map(|group| {
        let others = group["others"].as_array().expect("a list").iter();
        std::iter::once(&group["flow"]).chain(others)
    });
    flows
        .map(|it| it.as_str().expect("words").to_owned())
        .collect()
}

/// A file with the rules of a mesh, as `hoplab rules render` writes them.
fn rendered(scratch: &Scratch, name: &str, words: &str) -> String {
    let ended = rules(words, &[]);
    assert!(ended.status.success(), "{}", ended.stderr);
    scratch.file(name, &ended.stdout)
}

#[rstest]
#[case::native_nft("istio istio-nft")]
#[case::both_backends("kuma kuma --backend nft --backend-of-b legacy")]
#[case::generations_that_differ_in_options_only("istio-1.18 istio-1.25 --only ipv4")]
fn what_does_the_same_is_alike(#[case] sets: &str) {
    let ended = rules("diff", &sets.split(' ').collect::<Vec<_>>());
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended
            .stdout
            .contains("They do the same to every flow tried."),
        "{}",
        ended.stdout
    );
    let flows: usize = ended
        .stdout
        .lines()
        .nth(2)
        .and_then(|it| it.split(' ').next()?.parse().ok())
        .expect("flows");
    assert!(flows > 80, "{flows}");
}

#[test]
fn rules_in_another_order_and_spelling_are_alike() {
    let scratch = Scratch::new();
    let one = scratch.file(
        "one",
        "*nat\n:MINE - [0:0]\n-A PREROUTING -p tcp -j MINE\n-A MINE -p tcp --dport 22 -j RETURN\n\
         -A MINE -p tcp -m multiport --dports 15020,15021 -j RETURN\n-A MINE -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n",
    );
    let other = scratch.file(
        "other",
        "* nat\n-N YOURS\n-A YOURS -p tcp --dport 15021 -j RETURN\n-A YOURS -p tcp --dport 15020:15020 -j ACCEPT\n\
         -A YOURS -p tcp ! --dport 22 -j REDIRECT --to-port 15006\n-A PREROUTING -p tcp -j YOURS\nCOMMIT\n",
    );
    let ended = rules("diff --json --text", &[&one, &other]);
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        !json(&ended)["rules"].as_array().expect("a list").is_empty(),
        "the rules do differ"
    );
}

#[test]
fn istio_1_13_and_1_32_differ_in_calls_of_the_proxy_to_its_own_tunnel_port() {
    let ended = rules("diff istio-1.13 istio-1.32 --json", &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let value = json(&ended);
    assert_eq!(value["disagreements"], serde_json::json!([]));
    let flows = differing(&value);
    assert!(
        flows.iter().any(|it| it.contains("dst=[")),
        "IPv6 too: {flows:?}"
    );
    for flow in flows {
        assert!(flow.starts_with("tcp uid=1337 "), "{flow}");
        assert!(flow.ends_with(":15008"), "{flow}");
    }
    let decided = &value["differences"][0]["b"]["decided"];
    assert_eq!(decided["rule"], "ipv4 nat ISTIO_OUTPUT 4", "{value:#}");
}

#[test]
fn linkerd_0_and_1_differ_in_calls_of_the_proxy_to_its_own_pod() {
    let ended = rules("diff linkerd linkerd-1 --only ipv4 --json", &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let value = json(&ended);
    assert_eq!(
        value["differences"].as_array().map(Vec::len),
        Some(1),
        "{value:#}"
    );
    for flow in differing(&value) {
        assert!(flow.starts_with("tcp uid=2102 "), "{flow}");
        assert!(flow.contains(" src=192.0.2.2 dst=192.0.2.2:"), "{flow}");
    }
}

#[test]
fn kuma_captures_dns_over_tcp_when_it_inserts_its_jump() {
    let scratch = Scratch::new();
    let append = rendered(&scratch, "append", "render kuma --redirect-all-dns-traffic");
    let insert = rendered(
        &scratch,
        "insert",
        "render kuma --redirect-all-dns-traffic --insert-outbound-redirect",
    );
    let ended = rules("diff --only ipv4 --json", &[&append, &insert]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let flows = differing(&json(&ended));
    assert!(!flows.is_empty());
    for flow in flows {
        assert!(
            flow.starts_with("tcp uid=") && flow.ends_with(":53"),
            "{flow}"
        );
    }
}

#[test]
fn the_kernel_tells_apart_what_the_model_cannot() {
    let scratch = Scratch::new();
    let text =
        |rule: &str| format!("*nat\n{rule}-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n");
    let with = scratch.file(
        "with",
        &text("-A OUTPUT -p tcp -m length --length 0:65535 -j RETURN\n"),
    );
    let without = scratch.file("without", &text(""));
    let ended = rules("diff", &[&without, &with]);
    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(ended.stderr.contains("is not modelled"), "{}", ended.stderr);
}

#[test]
fn markdown_has_both_ways_in_a_table() {
    let ended = rules("diff linkerd linkerd-1 --only ipv4 --markdown --text", &[]);
    assert!(
        ended.stdout.contains("| | before | after |"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("The rules themselves: 1 differences"),
        "{}",
        ended.stdout
    );
}

#[rstest]
#[case::no_such_profile("diff kuma kumo", "there is no file and no profile of this name")]
#[case::no_such_snapshot(
    "verify kuma --against no-such.snapshot",
    "could not read no-such.snapshot"
)]
#[case::native_nft_is_not_mutated("mutate istio-nft", "holds rules of native nft")]
fn what_can_not_be_tried_is_an_input_error(#[case] words: &str, #[case] why: &str) {
    let ended = rules(words, &[]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn rules_that_the_kernel_refuses_are_an_input_error_in_its_words() {
    let scratch = Scratch::new();
    let bad = scratch.file(
        "bad",
        "*nat\n-A OUTPUT -p tcp -j TPROXY --on-port 1\nCOMMIT\n",
    );
    let ended = rules("diff", &[&bad, "kuma"]);
    assert_eq!(
        ended.status.code(),
        Some(2),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended.stderr.contains("the rules are refused by"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(&bad), "{}", ended.stderr);
}

#[test]
fn a_snapshot_holds_for_its_rules_and_not_for_others() {
    let scratch = Scratch::new();
    let taken = rules("snapshot linkerd --only ipv4", &[]);
    assert_eq!(taken.status.code(), Some(0), "{}", taken.stderr);
    let file = scratch.file("linkerd.snapshot", &taken.stdout);
    let same = rules("verify linkerd --only ipv4 --against", &[&file]);
    assert_eq!(
        same.status.code(),
        Some(0),
        "{}{}",
        same.stdout,
        same.stderr
    );
    let other = rules("verify linkerd-1 --only ipv4 --against", &[&file]);
    assert_eq!(
        other.status.code(),
        Some(1),
        "{}{}",
        other.stdout,
        other.stderr
    );
    assert!(
        other
            .stdout
            .contains("-> pod 127.0.0.1:4143, original 192.0.2.2:9080"),
        "{}",
        other.stdout
    );
    // One end altered: the kernel does not do that.
    let altered = taken
        .stdout
        .replacen("-> pod 192.0.2.2:4143", "-> pod 192.0.2.2:4144", 1);
    let altered = scratch.file("altered.snapshot", &altered);
    let found = rules("verify linkerd --only ipv4 --against", &[&altered]);
    assert_eq!(found.status.code(), Some(1), "{}", found.stdout);
    assert!(
        found.stdout.contains(": 1 changed, ") || found.stdout.contains("flows: 1 changed"),
        "{}",
        found.stdout
    );
}

#[test]
fn a_file_that_is_no_snapshot_is_told_with_its_place() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "odd",
        "hoplab snapshot 1\n\ntcp uid=x gid=1 src=1.1.1.1 dst=1.1.1.2:1\n",
    );
    let ended = rules("verify kuma --against", &[&file]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("`x` is no number") && ended.stderr.contains(":3:"),
        "{}",
        ended.stderr
    );
}

#[test]
fn of_the_eighteen_deletions_fifteen_are_noticed_and_istios_probe_notices_three() {
    let ended = rules(
        "mutate istio-1.13 --only ipv4 --kind deleted --probe istio --sample 0 --json",
        &[],
    );
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
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
    let taken = rules("snapshot istio-1.13 --only ipv4", &[]);
    // Of all flows those from outside.
    let mut flows = taken.stdout.split("\n\n");
    let head = flows.next().expect("a head");
    let outside: Vec<&str> = flows.filter(|it| it.starts_with("tcp in=")).collect();
    let file = scratch.file(
        "outside.snapshot",
        &format!("{head}\n\n{}\n", outside.join("\n\n")),
    );
    let ended = rules(
        "mutate istio-1.13 --only ipv4 --kind deleted --suite",
        &[&file],
    );
    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(ended.stdout.contains("would tell"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("7 killed, 3 equivalent, 8 survived"),
        "{}",
        ended.stdout
    );
}

#[test]
fn rules_that_no_flow_meets_are_told_with_what_takes_their_packets() {
    let ended = rules("cover istio-1.13 --only ipv4 --sample 0", &[]);
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended.stdout.contains("15 of 18 rules met"),
        "{}",
        ended.stdout
    );
    for place in [5, 6, 8] {
        let rule = format!("IPv4 nat ISTIO_OUTPUT {place}: ");
        assert!(
            ended.stdout.contains(&rule),
            "no {rule} in {}",
            ended.stdout
        );
    }
}

#[test]
fn what_a_run_did_not_meet_is_told_with_a_flow_that_would() {
    let evidence = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/evidence/file/tests/shop.ndjson"
    );
    let ended = rules("cover --evidence", &[evidence]);
    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended.stdout.contains("  reachable: tcp "),
        "{}",
        ended.stdout
    );
}

#[test]
fn no_difference_is_claimed_where_no_flow_looks() {
    let scratch = Scratch::new();
    let text = |rule: &str| {
        format!("*nat\n{rule}-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n")
    };
    let with = scratch.file("with", &text("-A PREROUTING -p udp --sport 53 -j RETURN\n"));
    let without = scratch.file("without", &text(""));
    let ended = rules("diff", &[&without, &with]);
    assert_eq!(
        ended.status.code(),
        Some(5),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended.stdout.contains("asks for a source port"),
        "{}",
        ended.stdout
    );
    let same = rules("diff", &[&with, &with]);
    assert_eq!(
        same.status.code(),
        Some(0),
        "{}{}",
        same.stdout,
        same.stderr
    );
}

#[test]
fn what_comes_in_by_another_interface_is_told_apart() {
    let scratch = Scratch::new();
    let text = |rule: &str| {
        format!("*nat\n{rule}-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n")
    };
    let both = |name, rule: &str| scratch.file(name, &(text(rule) + "# ip6tables\n" + &text(rule)));
    let with = both("with", "-A PREROUTING -i net+ -j RETURN\n");
    let without = both("without", "");
    let ended = rules("diff --json", &[&without, &with]);
    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let value = json(&ended);
    assert_eq!(value["disagreements"], serde_json::json!([]));
    let flows = differing(&value);
    assert!(
        flows.iter().any(|it| it.contains("dst=[")),
        "IPv6 too: {flows:?}"
    );
    for flow in flows {
        assert!(flow.starts_with("tcp in=net0 "), "{flow}");
    }
}

fn snapshots() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/snapshots")
}

#[rstest]
fn a_profile_does_what_its_snapshot_says(
    #[values(
        "istio-1.12",
        "istio-1.13",
        "istio-1.18",
        "istio-1.20",
        "istio-1.23",
        "istio-1.24",
        "istio-1.25",
        "istio-tproxy",
        "istio-nft",
        "ambient",
        "ambient-nft",
        "ztunnel",
        "ztunnel-dedicated",
        "kuma",
        "linkerd",
        "linkerd-1"
    )]
    profile: &str,
) {
    let file = snapshots().join(format!("{profile}.snapshot"));
    let source = format!("profile:{profile}");
    let ended = rules("verify --against", &[&file.display().to_string(), &source]);
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}

#[test]
fn every_profile_has_a_snapshot() {
    let mut files: Vec<String> = std::fs::read_dir(snapshots())
        .expect("a directory")
        .map(|it| {
            it.expect("readable")
                .file_name()
                .to_string_lossy()
                .replace(".snapshot", "")
        })
        .collect();
    files.sort();
    let mut profiles: Vec<String> = hoplab::profiles::all()
        .into_iter()
        .map(|it| it.name)
        .collect();
    profiles.sort();
    assert_eq!(files, profiles);
}
