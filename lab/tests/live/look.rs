//! Looking at a running lab: logs, counters, conntrack, one connection at a time, and the way of the notes.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

use super::{
    command::{netns, runtime::Runtime},
    small,
};

fn json(runtime: &Runtime, args: &[&str]) -> Value {
    serde_json::from_str(&runtime.output(args)).expect("JSON")
}

/// The rules that moved, as `CHAIN place +packets`.
fn moved(runtime: &Runtime, backend: &str) -> Vec<String> {
    let value = json(runtime, &["counters", "called", "--since-last", "--json"]);
    let rules = value["rules"].as_array().expect("an array").iter();
    let rules = rules.inspect(|rule| assert_eq!(rule["holder"], backend, "{rule}"));
    let words = rules.map(|rule| {
        let chain = rule["chain"].as_str().expect("a name");
        format!("{chain} {} +{}", rule["place"], rule["moved_packets"])
    });
    words.collect()
}

const OF_A_CALL: [&str; 5] = [
    "OUTPUT 1 +1",
    "PREROUTING 1 +1",
    "ISTIO_INBOUND 5 +1",
    "ISTIO_IN_REDIRECT 1 +1",
    "ISTIO_OUTPUT 1 +1",
];

#[rstest]
#[case::nft("iptables-nft", &["--backend", "nft"])]
#[case::legacy("iptables-legacy", &["--backend", "legacy"])]
fn counters_say_which_rules_moved_since_the_last_look(
    #[case] holder: &str,
    #[case] flags: &[&str],
) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&[&["up", &file], flags].concat());
    let first = runtime.done(&["counters", "called"]);
    first.failed_with(0, &["the first reading"]);
    assert!(
        first.stdout.contains(&format!("{holder} IPv4 nat")),
        "{first:#?}"
    );
    assert!(!first.stdout.contains('+'), "{first:#?}");
    runtime.output(&["send", "caller -> called:9080"]);
    let mut after = moved(&runtime, holder);
    let mut wanted = OF_A_CALL.map(str::to_owned).to_vec();
    after.sort();
    wanted.sort();
    assert_eq!(after, wanted);
    let quiet = runtime.done(&["counters", "called", "--since-last"]);
    quiet.failed_with(0, &["nothing moved since the last reading"]);
    assert_eq!(quiet.stdout, "");
    // The whole table stays to be had, and what moved is marked in it.
    runtime.output(&["send", "node", "called:15021"]);
    let whole = runtime.output(&["counters", "called"]);
    let line = |part: &str| whole.lines().find(|it| it.contains(part)).expect("a rule");
    assert!(line("--dport 15021 -j RETURN").contains("+1"), "{whole}");
    assert!(!line("--dport 15008 -j RETURN").contains('+'), "{whole}");
    runtime.down("small");
}

#[test]
fn counters_of_native_nft_and_of_both_families_are_shown() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--native-nftables", "--name", "native"]);
    runtime.output(&["up", &file, "--dual-stack", "--name", "dual"]);
    let native = runtime.output(&["counters", "called", "--lab", "native"]);
    assert!(native.contains("nft IPv4 and IPv6 nat"), "{native}");
    let dual = runtime.output(&["counters", "called", "--lab", "dual"]);
    assert!(dual.contains("iptables-nft IPv4 nat") && dual.contains("iptables-nft IPv6 nat"));
    runtime
        .done(&["counters", "called"])
        .failed_with(2, &["dual", "native"]);
    for lab in ["native", "dual"] {
        runtime.down(lab);
    }
}

#[test]
fn watched_counters_are_a_line_for_each_rule_that_moves() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut watch = runtime.hoplab(&["counters", "called", "--watch"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut words = BufReader::new(watch.stderr.take().expect("it is piped"));
    let mut begun = String::new();
    words.read_line(&mut begun).expect("text");
    assert!(
        begun.starts_with("watching the rules of pod `called`"),
        "{begun}"
    );
    runtime.output(&["send", "caller", "called:9080"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let moved = lines.by_ref().take(OF_A_CALL.len()).map_while(Result::ok);
    let moved: Vec<String> = moved.collect();
    assert!(
        moved
            .iter()
            .all(|it| it.starts_with("IPv4 nat ") && it.contains(" +1 ")),
        "{moved:#?}"
    );
    let pid = Pid::from_raw(watch.id().try_into().expect("positive"));
    kill(pid, Signal::SIGINT).expect("it is there");
    let ended = watch.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
    assert!(lines.next().is_none(), "nothing else moved");
    runtime.down("small");
}

#[test]
fn conntrack_shows_both_tuples_and_what_is_translated() {
    let runtime = Runtime::new();
    small(&runtime);
    runtime.output(&["send", "caller", "called:9080"]);
    let entries = json(&runtime, &["conntrack", "called", "--json"]);
    let entries = entries.as_array().expect("an array");
    let redirected: Vec<&Value> = entries
        .iter()
        .filter(|it| it["original"]["dst"] == "10.77.0.11:9080")
        .collect();
    let of_the_caller = redirected
        .iter()
        .find(|it| it["nat"] == "destination")
        .expect("an entry");
    assert_eq!(of_the_caller["reply"]["src"], "10.77.0.11:15006");
    assert_eq!(of_the_caller["state"], "TIME_WAIT");
    let text = runtime.output(&["conntrack", "called"]);
    assert!(text.contains("destination → 10.77.0.11:15006"), "{text}");
    runtime.down("small");
}

#[test]
fn logs_have_connections_and_what_istio_init_printed_and_go_on_while_they_are_followed() {
    let runtime = Runtime::new();
    small(&runtime);
    runtime.output(&["send", "caller", "called:9080"]);
    let proxy = runtime.output(&["logs", "called/proxy"]);
    assert!(
        proxy.contains("at 10.77.0.11:15006, sent to 10.77.0.11:9080"),
        "{proxy}"
    );
    let app = runtime.done(&["logs", "called"]);
    app.failed_with(0, &["Defaulted to \"app\" out of: app, proxy, istio-init"]);
    assert!(app.stdout.contains(" accepted 127.0.0.6:"), "{app:#?}");
    let init = runtime.output(&["logs", "called/istio-init"]);
    assert!(init.contains("info\tIstio iptables environment:"), "{init}");
    runtime
        .done(&["logs", "called/proxi"])
        .failed_with(2, &["did you mean `proxy`?"]);
    runtime
        .done(&["logs", "caled"])
        .failed_with(2, &["did you mean `called`?"]);
    let mut follow = runtime.hoplab(&["logs", "called/app", "-f"]);
    let mut follow = follow
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("it is piped")).lines();
    let known = app.stdout.lines();
    let shown = lines.by_ref().take(known.clone().count());
    assert!(shown.map_while(Result::ok).eq(known.map(str::to_owned)));
    runtime.output(&["send", "caller", "called:9080"]);
    let new = lines.next().expect("a line").expect("text");
    assert!(new.contains(" accepted 127.0.0.6:"), "{new}");
    runtime.output(&["down", "small"]);
    let ended = follow.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(4));
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(
        words.contains("went down while its log was followed"),
        "{words}"
    );
    runtime.assert_empty();
}

#[test]
fn the_level_of_a_proxys_log_is_asked_and_changed_as_with_istioctl() {
    let runtime = Runtime::new();
    small(&runtime);
    let log = |more: &[&str]| runtime.output(&[&["proxy-config", "log", "called"], more].concat());
    assert_eq!(log(&[]), "level: info\n");
    let lines = || runtime.output(&["logs", "called/proxy"]).lines().count();
    let quiet = lines();
    assert_eq!(log(&["--level", "trace"]), "level: trace\n");
    assert_eq!(log(&[]), "level: trace\n");
    assert!(lines() > quiet);
    let wrong = runtime.done(&["proxy-config", "log", "called", "--level", "loud"]);
    wrong.failed_with(2, &["off, error, warning, info, debug or trace"]);
    runtime
        .done(&["proxy-config", "log", "caller"])
        .failed_with(2, &["has no proxy"]);
    runtime.down("small");
}

/// `nsenter`, the process id of a pod's proxy that `ps` names, and the tool of the lab's backend; of an ordinary user the
/// user namespace, too.
fn as_in_the_notes(runtime: &Runtime, args: &[&str]) -> String {
    let ps = json(runtime, &["ps", "--json"]);
    let pods = ps["pods"].as_array().expect("an array").iter();
    let mut processes = pods.flat_map(|pod| pod["processes"].as_array().expect("an array"));
    let proxy = processes.find(|it| it["role"] == "proxy").expect("a proxy");
    assert_eq!(proxy["uid"], 1337);
    let mut command = netns::enter(&proxy["pid"], &["-n"]);
    let output = command.args(args).output().expect("nsenter is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The notes: find the proxy's process id, list its rules from outside, then with counters.
#[test]
fn the_notes_own_way_works_on_a_lab() {
    let runtime = Runtime::new();
    // What `iptables` is on this machine decides, as it did on the machine of the notes.
    let version = Command::new("iptables")
        .arg("--version")
        .output()
        .expect("it is installed");
    let backend = match String::from_utf8_lossy(&version.stdout).contains("nf_tables") {
        true => "nft",
        false => "legacy",
    };
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--backend", backend]);
    let rules = as_in_the_notes(&runtime, &["iptables", "-t", "nat", "-S"]);
    let wanted = [
        "-P PREROUTING ACCEPT",
        "-N ISTIO_IN_REDIRECT",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
        "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
    ];
    for line in wanted {
        assert!(
            rules.lines().any(|it| it == line),
            "{line} is not in\n{rules}"
        );
    }
    runtime.output(&["send", "node", "called:15021"]);
    let listed = as_in_the_notes(&runtime, &["iptables", "-t", "nat", "-L", "-v"]);
    let counted = |port: &str| {
        let line = listed
            .lines()
            .find(|it| it.ends_with(&format!("tcp dpt:{port}")));
        let line = line.unwrap_or_else(|| panic!("{port} is not in\n{listed}"));
        line.split_whitespace().next().map(str::to_owned)
    };
    assert_eq!(counted("15021").as_deref(), Some("1"), "{listed}");
    assert_eq!(counted("15020").as_deref(), Some("0"), "{listed}");
    runtime.down("small");
}

#[rstest]
#[case::counters(&["counters", "caled"])]
#[case::conntrack(&["conntrack", "caled"])]
#[case::log_level(&["proxy-config", "log", "caled"])]
#[case::send(&["send", "caled", "called:9080"])]
fn a_pod_that_is_not_there_is_answered_with_the_nearest(#[case] args: &[&str]) {
    let runtime = Runtime::new();
    small(&runtime);
    runtime
        .done(args)
        .failed_with(2, &["did you mean `called`?"]);
    let elsewhere = [args, &["--lab", "smal"]].concat();
    runtime
        .done(&elsewhere)
        .failed_with(4, &["did you mean `small`?"]);
    runtime.down("small");
}

/// The script builds what the supervisor would: it is run, in namespaces that end with it.
#[rstest]
#[case::nft("iptables-nft", &["--backend", "nft"])]
#[case::legacy("iptables-legacy", &["--backend", "legacy"])]
fn a_dry_run_prints_commands_that_build_the_pods(#[case] tool: &str, #[case] flags: &[&str]) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    let up = [&["up", &file, "--dual-stack", "--name", "dry"], flags].concat();
    let script = runtime.output(&[&up[..], &["--dry-run"]].concat());
    runtime.assert_empty();
    // Nobody listens: that this is said at once is the other pod's answer.
    let reach = "ip netns exec small-caller timeout 20 bash -c '</dev/tcp/10.77.0.11/9080' 2>&1 | grep -o refused";
    let look = format!(
        "{script}\nip netns exec small-called {tool}-save\nip netns exec small-called ip6{}-save\n\
         ip -n small-called -br addr show dev eth0\n{reach}",
        tool.trim_start_matches("ip")
    );
    let script = runtime.file("build.sh", &look);
    let own = "mount --make-rprivate / && mount -t tmpfs none /run && exec sh -e \"$0\"";
    let mut command = Command::new("unshare");
    if !nix::unistd::Uid::effective().is_root() {
        // Rules name user 1337. One after the other: what is of a namespace is for the root its user namespace has by then.
        command.args(["--user", "--map-root-user", "--map-auto", "unshare"]);
    }
    let ran = command
        .args(["-n", "-m", "sh", "-c", own, &script])
        .output()
        .expect("unshare is installed");
    assert!(ran.status.success(), "{ran:#?}");
    let built = String::from_utf8(ran.stdout).expect("text");
    runtime.output(&up);
    let rules = |tool: &str| {
        let save = ["exec", "called", "--as", "root", "--lab", "dry", "--", tool];
        runtime.output(&save)
    };
    for tool in [
        format!("{tool}-save"),
        format!("ip6{}-save", tool.trim_start_matches("ip")),
    ] {
        for rule in rules(&tool).lines().filter(|it| it.starts_with("-A")) {
            assert!(
                built.lines().any(|it| it == rule),
                "{rule} is not in\n{built}"
            );
        }
    }
    assert!(
        built.contains("10.77.0.11/24") && built.contains("fd77::11/64"),
        "{built}"
    );
    assert!(built.ends_with("refused\n"), "{built}");
    runtime.down("dry");
}
