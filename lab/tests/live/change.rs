//! Changing a running lab: its processes and the rules of a pod, and what later commands see then.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

use super::{
    command::{Ended, runtime::Runtime, wait_for},
    small,
};

/// Rules of the hooks and chains that a connection to a port of `called` met.
fn met(runtime: &Runtime, port: u16) -> (String, Vec<String>) {
    // Who is stopped is missed by the model, which is a contradiction: the exit code is not of interest here.
    let text = runtime
        .done(&["send", "node", &format!("called:{port}"), "--json"])
        .stdout;
    let path: Value = serde_json::from_str(&text).expect("JSON");
    let answer = path["answer"].as_str().expect("an answer").to_owned();
    let rules = text
        .lines()
        .filter_map(|it| it.trim().strip_prefix("\"chain\": \""));
    (
        answer,
        rules
            .map(|it| it.trim_end_matches(['"', ',']).to_owned())
            .collect(),
    )
}

fn processes(runtime: &Runtime) -> Vec<(String, Option<i64>)> {
    let status: Value =
        serde_json::from_str(&runtime.done(&["status", "--json"]).stdout).expect("JSON");
    let pods = status["pods"].as_array().expect("an array").iter();
    let called = pods.filter(|it| it["name"] == "called");
    let all = called.flat_map(|it| it["processes"].as_array().expect("an array"));
    let named = all.map(|it| {
        let role = it["role"].as_str().expect("a name").to_owned();
        (role, it["pid"].as_i64())
    });
    named.collect()
}

#[test]
fn a_process_is_stopped_and_started_and_what_is_sent_meanwhile_is_refused() {
    let runtime = Runtime::new();
    small(&runtime);
    let answer = |runtime: &Runtime| met(runtime, 9080).0;
    assert_eq!(answer(&runtime), "200");
    let stopped = runtime.output(&["proxy", "stop", "called"]);
    assert!(
        stopped.starts_with("proxy of called stopped, it was process "),
        "{stopped}"
    );
    assert_eq!(answer(&runtime), "refused");
    let again = runtime.done(&["proxy", "stop", "called"]);
    again.failed_with(4, &["does not run", "hoplab proxy start called"]);
    let status = runtime.done(&["status"]);
    status.failed_with(0, &[]);
    assert!(
        status.stdout.contains("proxy of called is stopped"),
        "{status:#?}"
    );
    runtime.output(&["proxy", "start", "called"]);
    assert_eq!(answer(&runtime), "200");
    let twice = runtime.done(&["proxy", "start", "called"]);
    twice.failed_with(4, &["runs already, as process"]);
    let before = processes(&runtime);
    runtime.output(&["app", "restart", "called"]);
    let after = processes(&runtime);
    let of = |all: &[(String, Option<i64>)], role: &str| {
        all.iter()
            .find(|(it, _)| it == role)
            .and_then(|(_, pid)| *pid)
            .expect("it runs")
    };
    assert_ne!(of(&before, "app"), of(&after, "app"));
    assert_eq!(of(&before, "proxy"), of(&after, "proxy"));
    assert_eq!(answer(&runtime), "200");
    let none = runtime.done(&["proxy", "stop", "caller"]);
    none.failed_with(2, &["pod `caller` of lab `small` has no proxy"]);
    runtime
        .done(&["app", "stop", "caled"])
        .failed_with(2, &["did you mean `called`?"]);
    runtime.down("small");
}

#[test]
fn a_process_that_was_killed_is_started_anew() {
    let runtime = Runtime::new();
    small(&runtime);
    let all = processes(&runtime);
    let (_, pid) = all
        .iter()
        .find(|(role, _)| role == "proxy")
        .expect("a proxy");
    let pid = Pid::from_raw(pid.expect("it runs").try_into().expect("small"));
    kill(pid, Signal::SIGKILL).expect("it is there");
    wait_for("the end of the proxy", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    runtime
        .done(&["send", "node", "called:9080"])
        .failed_with(4, &["proxy of called"]);
    runtime.output(&["proxy", "restart", "called"]);
    assert_eq!(met(&runtime, 9080).0, "200");
    runtime.done(&["status"]).failed_with(0, &[]);
    runtime.down("small");
}

/// The lab's rules, as text, without the one that lets the readiness probe through.
fn without_probes(runtime: &Runtime, shown: &[&str]) -> String {
    let text = runtime.output(shown);
    let kept = text.lines().filter(|it| !it.contains("dport 15021"));
    let kept: String = kept.map(|it| format!("{it}\n")).collect();
    assert_ne!(kept, text);
    runtime.file("no-15021.rules", &kept)
}

#[rstest]
fn the_rules_of_one_pod_are_replaced_and_later_commands_go_by_them(
    #[values("nft", "legacy")] backend: &str,
) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--backend", backend, "--dual-stack"]);
    let rules = without_probes(&runtime, &["profiles", "istio-1.13"]);
    let before = met(&runtime, 15021);
    assert!(
        !before.1.contains(&"ISTIO_IN_REDIRECT".to_owned()),
        "{before:?}"
    );
    let apply = ["rules", "apply", "--to", "called", "--rules"];
    let done = runtime.output(&[&apply[..], &[&rules]].concat());
    assert!(
        done.contains("- IPv4 nat ISTIO_INBOUND 3: -A ISTIO_INBOUND"),
        "{done}"
    );
    let after = met(&runtime, 15021);
    assert!(
        after.1.contains(&"ISTIO_IN_REDIRECT".to_owned()),
        "{after:?}"
    );
    assert!(
        runtime
            .output(&["status"])
            .contains("the rules of called were replaced")
    );
    // What the kernel refuses changes nothing.
    let held = || {
        runtime
            .output(&["counters", "called", "--json"])
            .matches("\"rule\"")
            .count()
    };
    let rules_now = held();
    let bad = runtime.file("bad.rules", "*nat\n-A OUTPUT -p tcp -j NOWHERE\nCOMMIT\n");
    runtime
        .done(&[&apply[..], &[&bad]].concat())
        .failed_with(2, &["NOWHERE"]);
    assert_eq!(held(), rules_now);
    // And back again.
    runtime.output(&[&apply[..], &["profile:istio-1.13"]].concat());
    assert_eq!(met(&runtime, 15021).1, before.1);
    let others = runtime.done(&[&apply[..], &["profile:linkerd"]].concat());
    others.failed_with(0, &["note: these rules are for a proxy on 4143 and 4140"]);
    let none = runtime.done(&[
        "rules",
        "apply",
        "--to",
        "caller",
        "--rules",
        "profile:istio",
    ]);
    none.failed_with(2, &["pod `caller` has no sidecar"]);
    runtime.down("small");
}

#[test]
fn rules_of_nft_are_replaced_by_rules_of_nft_only() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--native-nftables"]);
    let shown = [
        "exec", "called", "--as", "root", "--", "nft", "-s", "list", "ruleset",
    ];
    let rules = without_probes(&runtime, &shown);
    let before = met(&runtime, 15021).1;
    let apply = ["rules", "apply", "--to", "called", "--rules"];
    runtime.output(&[&apply[..], &[&rules]].concat());
    assert!(met(&runtime, 15021).1.len() > before.len());
    let other = runtime.done(&[&apply[..], &["profile:istio-1.13"]].concat());
    other.failed_with(2, &["pod `called` has rules of nft's own"]);
    runtime.down("small");
}

fn edit(runtime: &Runtime, editor: &str, flags: &[&str]) -> Ended {
    let args = [&["rules", "edit", "called"], flags].concat();
    let mut command = runtime.hoplab(&args);
    command.env("EDITOR", editor).env_remove("VISUAL");
    super::command::Running::start(&mut command).ended()
}

#[test]
fn rules_are_edited_and_what_that_changes_is_shown_before_it_does() {
    let runtime = Runtime::new();
    small(&runtime);
    let untouched = met(&runtime, 15021).1;
    let nothing = edit(&runtime, "true", &[]);
    nothing.failed_with(0, &["nothing was edited"]);
    // A mistake: where it is, and where the text is now.
    let wrong = edit(&runtime, "sed -i s/COMMIT/COMIT/", &["--yes"]);
    wrong.failed_with(
        2,
        &["called.rules:", "COMIT", "what you edited is kept in "],
    );
    let kept = wrong
        .stderr
        .lines()
        .find_map(|it| it.split_once("is kept in "))
        .expect("a path")
        .1;
    assert!(
        fs::read_to_string(kept)
            .expect("it is there")
            .contains("COMIT")
    );
    fs::remove_dir_all(Path::new(kept).parent().expect("a directory")).expect("it is ours");
    assert_eq!(met(&runtime, 15021).1, untouched);
    // Nobody to ask: nothing is applied, but the difference is shown.
    let asked = edit(&runtime, "sed -i /15021/d", &[]);
    asked.failed_with(1, &["not applied: there is no terminal to ask on"]);
    assert!(asked.stdout.contains("They differ in 1 flow"), "{asked:#?}");
    assert!(asked.stdout.contains(":15021"), "{asked:#?}");
    let kept = asked
        .stderr
        .lines()
        .find_map(|it| it.split_once("is kept in "))
        .expect("a path")
        .1;
    fs::remove_dir_all(Path::new(kept).parent().expect("a directory")).expect("it is ours");
    assert_eq!(met(&runtime, 15021).1, untouched);
    let applied = edit(&runtime, "sed -i /15021/d", &["--yes", "--no-diff"]);
    applied.failed_with(0, &[]);
    assert!(
        applied.stdout.contains("- IPv4 nat ISTIO_INBOUND 3"),
        "{applied:#?}"
    );
    assert_ne!(met(&runtime, 15021).1, untouched);
    let failed = edit(&runtime, "false", &[]);
    failed.failed_with(2, &["the editor `false` did not end well"]);
    runtime.down("small");
}

#[test]
fn rules_of_nft_are_edited_as_a_transaction_of_nft() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--native-nftables", "--dual-stack"]);
    let untouched = met(&runtime, 15021).1;
    let same = edit(&runtime, "sed -i s/^#.*//", &["--yes"]);
    same.failed_with(0, &[]);
    assert!(same.stdout.contains("They do the same"), "{same:#?}");
    assert!(
        same.stdout.contains("they say the same as before"),
        "{same:#?}"
    );
    assert_eq!(met(&runtime, 15021).1, untouched);
    let wrong = edit(
        &runtime,
        "sed -i 's/counter redirect/counter redirekt/'",
        &["--yes"],
    );
    wrong.failed_with(
        2,
        &["Error: syntax error", "redirekt to :15006", "is kept in "],
    );
    let applied = edit(
        &runtime,
        "sed -i 's/15020, 15021/15020/; s/15021, //; /dport 15021/d'",
        &["--yes"],
    );
    applied.failed_with(0, &[]);
    assert!(applied.stdout.contains(":15021"), "{applied:#?}");
    assert_ne!(met(&runtime, 15021).1, untouched);
    runtime.down("small");
}

/// The model goes by what each pod has: no witness contradicts it, in neither pod.
#[test]
fn rules_that_one_pod_has_for_itself_explain_its_own_connections_only() {
    let runtime = Runtime::new();
    runtime.output(&["up", "bookinfo"]);
    let rules = without_probes(&runtime, &["profiles", "istio-1.13"]);
    let apply = ["rules", "apply", "--to", "reviews-v2", "--rules", &rules];
    runtime.output(&apply);
    let redirected = runtime.output(&["send", "node", "reviews-v2:15021"]);
    assert!(
        redirected.contains("destination 10.77.0.14:15021 → 10.77.0.14:15006"),
        "{redirected}"
    );
    assert!(
        redirected.contains("4 -p tcp -j ISTIO_IN_REDIRECT"),
        "{redirected}"
    );
    let as_before = runtime.output(&["send", "node", "reviews-v1:15021"]);
    assert!(
        as_before.contains("3 -p tcp -m tcp --dport 15021 -j RETURN"),
        "{as_before}"
    );
    runtime.down("bookinfo");
}
