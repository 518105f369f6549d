//! Lab files of a person's own: checked without root, run as a set, with steps in their evidence, and refused with
//! their place when something is wrong.

mod command;

use std::fs;

use command::{Ended, Scratch, hoplab, run};
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
name = "before"
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
edit = ["-D ISTIO_INBOUND 5"]
flows = ["before"]
rule = "ISTIO_INBOUND 5"
"#;

fn stdout(ended: &Ended) -> &str {
    ended.stdout.as_str()
}

#[test]
fn a_good_file_is_called_good_and_a_bad_one_is_told_with_its_place() {
    let scratch = Scratch::new();
    let good = scratch.file("good.toml", LAB);
    let text = LAB.replace("-D ISTIO_INBOUND 5", "-D ISTIO_INBOUND 12");
    let bad = scratch.file("bad.toml", &text);
    let ended = run(&mut hoplab(&["check", &good, &bad]));
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    let words = "good: 2 pods, 2 flows, 1 step, 1 variant, over IPv4 and IPv6";
    assert!(stdout(&ended).contains(words), "{ended:#?}");
    let place = ":34:10: `ISTIO_INBOUND 12` is no rule: the chain has 5";
    assert!(ended.stderr.contains(place), "{ended:#?}");
}

#[test]
fn the_schema_is_printed_as_it_is_in_the_repository() {
    let ended = run(&mut hoplab(&["check", "--schema"]));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/lab.schema.json");
    assert_eq!(
        stdout(&ended),
        fs::read_to_string(file).expect("it is there")
    );
}

#[test]
fn two_labs_of_one_name_are_told_by_their_paths_before_any_is_up() {
    let scratch = Scratch::new();
    scratch.file("one.toml", LAB);
    scratch.file("other.toml", LAB);
    let dir = &scratch.path().display().to_string();
    let ended = run(&mut hoplab(&["run", "--all", dir]));
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    for words in [
        "two labs have the name `mine`",
        "one.toml and ",
        "other.toml",
    ] {
        assert!(ended.stderr.contains(words), "{ended:#?}");
    }
}

#[test]
fn a_directory_of_labs_is_run_in_every_way_and_told_as_a_table() {
    let scratch = Scratch::new();
    scratch.file("mine.toml", LAB);
    let dir = &scratch.path().display().to_string();
    let ended = run(&mut hoplab(&["run", "--all", dir, "--backend", "nft"]));
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(
        stdout(&ended).contains("4 cases, all as expected"),
        "{ended:#?}"
    );

    let wrong = LAB.replace("flows = [\"before\"]", "flows = [\"held\"]");
    scratch.file("mine.toml", &wrong);
    let ended = run(&mut hoplab(&[
        "run",
        "--all",
        dir,
        "--backend",
        "nft",
        "--family",
        "ipv4",
        "--json",
    ]));
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let json: serde_json::Value = serde_json::from_str(stdout(&ended)).expect("JSON");
    let rows = &json["cases"];
    assert_eq!(rows[0]["unexpected"], serde_json::json!([]));
    assert_eq!(
        rows[1]["unexpected"],
        serde_json::json!([
            "flow before: Refuted, and Holds was expected",
            "flow held: Holds, and Refuted was expected",
        ])
    );
}

#[test]
fn a_variant_that_comes_out_as_the_file_says_is_no_failure() {
    let scratch = Scratch::new();
    let lab = scratch.file("lab.toml", LAB);
    let ended = run(&mut hoplab(&[
        "run",
        &lab,
        "--variant",
        "inbound-open",
        "--quiet",
    ]));
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(stdout(&ended).contains("✗ Refuted"), "{ended:#?}");
    let ended = run(&mut hoplab(&["run", &lab, "--variant", "inbound-opn"]));
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    assert!(
        ended.stderr.contains("did you mean `inbound-open`?"),
        "{ended:#?}"
    );
}

#[rstest]
#[case::as_it_was("", "", 0, "Holds")]
#[case::init_was_accepted(
    "\"ok\":false",
    "\"ok\":true",
    1,
    "command in pod: wanted refused, had accepted"
)]
#[case::another_step(
    "\"step\":\"again\"",
    "\"step\":\"agein\"",
    2,
    "step `agein` is not the lab file's next"
)]
fn a_run_with_steps_is_judged_again_from_its_evidence(
    #[case] old: &str,
    #[case] new: &str,
    #[case] code: i32,
    #[case] words: &str,
) {
    let scratch = Scratch::new();
    let lab = scratch.file("lab.toml", LAB);
    let evidence = scratch.path().join("run.ndjson").display().to_string();
    let ended = run(&mut hoplab(&["run", &lab, "--evidence", &evidence]));
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let text = fs::read_to_string(&evidence).expect("it was written");
    fs::write(&evidence, text.replacen(old, new, 1)).expect("it can be changed");
    let ended = run(&mut hoplab(&["judge", &evidence]));
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(words), "{ended:#?}");
}

#[test]
fn a_lab_with_steps_goes_over_one_family_at_a_time() {
    let scratch = Scratch::new();
    let lab = scratch.file("lab.toml", LAB);
    let ended = run(&mut hoplab(&["run", &lab, "--dual-stack"]));
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    assert!(
        ended.stderr.contains("goes over one family at a time"),
        "{ended:#?}"
    );
}

/// The lab under other rules, with one flow that names no place.
fn with_rules(profile: &str, options: &str) -> String {
    let (head, _) = LAB.split_once("[[flow]]").expect("it has flows");
    let rules = format!("profile = \"{profile}\"\noptions = [{options}]");
    let head = head.replace("profile = \"istio-1.13\"", &rules);
    format!("{head}[[flow]]\nname = \"call\"\nfrom = \"cli/1000:1000\"\nto = \"pod:9080\"\n")
}

#[test]
fn a_file_whose_families_have_no_rules_runs_nowhere_and_is_not_called_good() {
    let scratch = Scratch::new();
    let text = with_rules("kuma", "\"--ip-family-mode\", \"ipv4\"");
    let text = text.replace("[rules]", "families = [\"ipv6\"]\n\n[rules]");
    let ended = run(&mut hoplab(&[
        "check",
        &scratch.file("no-case.toml", &text),
    ]));
    ended.failed_with(2, &["no flow of it can run", "`families`"]);
}

/// proxy-init gives one list of networks to both iptables and ip6tables (linkerd2-proxy-init 388): what ip6tables would
/// refuse is named before anything is loaded.
#[rstest]
#[case::checked("check", &[])]
#[case::run("run", &["--family", "ipv6"])]
fn a_network_of_the_other_family_is_named_with_its_rule(#[case] verb: &str, #[case] more: &[&str]) {
    let scratch = Scratch::new();
    let text = with_rules("linkerd", "\"--subnets-to-ignore\", \"10.77.2.0/24\"");
    let file = scratch.file("subnet.toml", &text);
    let ended = run(&mut hoplab(&[&[verb, &file], more].concat()));
    ended.failed_with(
        2,
        &[
            "profile linkerd (IPv6)",
            "address `10.77.2.0/24` is IPv4, these rules are IPv6",
            "-A PROXY_INIT_REDIRECT -p all -j RETURN -s 10.77.2.0/24",
        ],
    );
}
