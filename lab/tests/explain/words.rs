//! The words of the command line: who sends, what is asked, how much is shown.

use rstest::rstest;
use serde_json::Value;

use super::{
    captured,
    command::{Ended, SMALL, runtime::Runtime},
    rules, value,
};

/// The small lab, up.
fn small() -> Runtime {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file]);
    runtime
}

fn explain(runtime: &Runtime, words: &[&str]) -> Ended {
    runtime.done(&[&["explain"], words].concat())
}

#[test]
fn who_sends_decides_which_rule_lets_go_or_captures() {
    let runtime = small();
    for (sender, opener, rule) in [
        (&[][..], "1000:1000", "9 -j ISTIO_REDIRECT"),
        (&["--as", "app"], "1000:1000", "9 -j ISTIO_REDIRECT"),
        (
            &["--as", "proxy"],
            "1337:1337",
            "4 -m owner --uid-owner 1337 -j RETURN",
        ),
        (
            &["--as", "2000:1337"],
            "2000:1337",
            "7 -m owner --gid-owner 1337 -j RETURN",
        ),
        (
            &["--as", "1337:2000"],
            "1337:2000",
            "4 -m owner --uid-owner 1337 -j RETURN",
        ),
        (&["--as", "0:0"], "0:0", "9 -j ISTIO_REDIRECT"),
    ] {
        let words = [&["called", "caller:9080", "--json"], sender].concat();
        let path: Value = value(&explain(&runtime, &words));
        let leg = &path["legs"][0];
        let by = &leg["opener"];
        assert_eq!(format!("{}:{}", by["uid"], by["gid"]), opener, "{sender:?}");
        let rule = format!("nat ISTIO_OUTPUT {rule}");
        assert!(
            rules(&path).contains(&rule),
            "{sender:?}: {:#?}",
            rules(&path)
        );
    }
    runtime.down("small");
}

#[test]
fn quiet_shows_what_matched_and_verbose_every_hook_and_process() {
    let runtime = small();
    let text = |words: &[&str]| {
        let ended = explain(&runtime, &[&["caller", "called:9080"], words].concat());
        ended.failed_with(0, &[]);
        ended.stdout
    };
    let (normal, quiet, verbose) = (text(&[]), text(&["-q"]), text(&["-v"]));
    for shown in [&normal, &quiet, &verbose] {
        assert!(
            shown.contains("✔  1 -p tcp -j REDIRECT --to-ports 15006"),
            "{shown}"
        );
        // What conntrack does without a rule is the whole point of the way back.
        assert!(
            shown.contains("source 10.77.0.11:15006 → 10.77.0.11:9080"),
            "{shown}"
        );
    }
    assert!(normal.contains('✗') && !quiet.contains('✗') && verbose.contains('✗'));
    assert!(normal.contains("PREROUTING, INPUT") && !verbose.contains("PREROUTING, INPUT"));
    assert!(!quiet.contains("INPUT in eth0") && verbose.contains("INPUT in eth0"));
    assert!(!normal.contains(", process ") && verbose.contains(", process "));
    runtime.down("small");
}

#[rstest]
#[case::udp_to_a_port(&["caller", "called:9080", "--udp"], "nothing at called:9080 is asked over UDP")]
#[case::a_name_without_a_server(&["called", "dns:example.org", "--udp"], "lab `small` has no DNS server to ask")]
#[case::two_senders(&["called/app", "caller:9080", "--as", "proxy"], "`called/app` says already who sends")]
#[case::nobody(&["nobody", "called:9080"], "lab `small` has no pod `nobody` to send from")]
#[case::no_proxy(&["caller", "called:9080", "--as", "proxy"], "pod `caller` has no proxy")]
#[case::no_user(&["caller", "called:9080", "--as", "x:y"], "x:y")]
#[case::json_and_quiet(&["caller", "called:9080", "--json", "-q"], "cannot be used with")]
#[case::quiet_and_verbose(&["caller", "called:9080", "-v", "-q"], "cannot be used with")]
#[case::a_process_and_a_lab(&["--pid", "1", "--lab", "small", "0:0", "1.1.1.1:1"], "cannot be used with")]
#[case::waiting_without_a_process(&["caller", "called:9080", "--trace"], "--pid")]
fn words_that_do_not_go_together_are_refused(#[case] words: &[&str], #[case] said: &str) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    let lab: &[&str] = match words.contains(&"--lab") || words.contains(&"--trace") {
        true => &[],
        false => &["--lab", &file],
    };
    explain(&runtime, &[words, lab].concat()).failed_with(2, &[said]);
}

#[test]
fn rules_that_were_changed_by_hand_in_a_running_lab_are_those_that_count() {
    let runtime = small();
    let nat = |words: &[&str]| {
        let tool = [
            "exec",
            "called",
            "--as",
            "root",
            "--",
            "iptables-nft",
            "-t",
            "nat",
        ];
        runtime.output(&[&tool, words].concat());
    };
    nat(&["-D", "ISTIO_INBOUND", "5"]);
    let path = value(&explain(&runtime, &["call", "--json"]));
    assert_eq!(rules(&path), ["nat PREROUTING 1 -p tcp -j ISTIO_INBOUND"]);
    nat(&[
        "-A",
        "ISTIO_INBOUND",
        "-p",
        "tcp",
        "-j",
        "ISTIO_IN_REDIRECT",
    ]);
    let path = value(&explain(&runtime, &["call", "--json"]));
    assert_eq!(rules(&path), captured("127.0.0.6/32"));
    runtime.down("small");
}
