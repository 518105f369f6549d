//! `up` again: the lab that is up is made what the file says, what that changed is said, and what stays goes on.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

use super::{
    SMALL,
    command::{runtime::Runtime, wait_for},
    small,
};

const THIRD: &str = r#"
[[pod]]
name = "third"
ipv4 = "10.77.0.12"
ipv6 = "fd77::12"
sidecar = true
app = { port = 9080 }
"#;

const NOTHING: &str = "small is as its file says\n";

fn json(runtime: &Runtime, args: &[&str]) -> Value {
    serde_json::from_str(&runtime.output(args)).expect("JSON")
}

fn answer(runtime: &Runtime, to: &str) -> Value {
    json(runtime, &["send", "caller", to, "--json"])["answer"].clone()
}

/// Id, on the machine, of a process of `called`.
fn pid(runtime: &Runtime, role: &str) -> Option<i64> {
    let status = runtime.done(&["status", "--json"]).stdout;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let pods = status["pods"].as_array().expect("a list").iter();
    let called = pods.filter(|it| it["name"] == "called");
    let mut all = called.flat_map(|it| it["processes"].as_array().expect("a list"));
    all.find(|it| it["role"] == role)?["pid"].as_i64()
}

/// Connections that came in, as the first rule of PREROUTING counts them.
fn came_in(runtime: &Runtime) -> String {
    let text = runtime.output(&["counters", "called"]);
    let line = text.lines().find(|it| it.contains("ISTIO_INBOUND"));
    line.expect("a rule").to_owned()
}

#[test]
fn what_broke_and_what_somebody_changed_by_hand_is_repaired_and_said() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    let supervisor = runtime.pid("small");
    let up = |flags: &[&str]| runtime.output(&[&["up", &file], flags].concat());
    assert_eq!(up(&[]), NOTHING);
    runtime.output(&["proxy", "stop", "called"]);
    let app = pid(&runtime, "app").expect("it runs");
    kill(
        Pid::from_raw(app.try_into().expect("small")),
        Signal::SIGKILL,
    )
    .expect("it is there");
    wait_for("the end of the app", || {
        (!Path::new(&format!("/proc/{app}")).exists()).then_some(())
    });
    // A pod is entered by a process of its own; that the other one is dead is no reason not to start this one.
    runtime.output(&["proxy", "start", "called"]);
    let by_hand = |args: &[&str]| {
        let inside = ["exec", "called", "--as", "root", "--", "iptables-nft"];
        runtime.output(&[&inside[..], args].concat());
    };
    by_hand(&["-t", "nat", "-D", "ISTIO_INBOUND", "2"]);
    by_hand(&["-P", "FORWARD", "DROP"]);
    runtime.output(&["proxy", "stop", "called"]);
    let expected = [
        "~ rules  called  2 differences, changed by hand",
        "    + IPv4 nat ISTIO_INBOUND 2: -A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN",
        "    ~ IPv4 filter FORWARD: policy ACCEPT, it was DROP",
        "↻ proxy  called  was stopped",
        "↻ app    called  had ended: signal: 9 (SIGKILL)",
    ];
    let told = up(&["--dry-run"]);
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    assert_eq!(pid(&runtime, "proxy"), None, "nothing was done");
    let done = up(&[]);
    assert_eq!(done, told);
    assert_eq!(up(&[]), NOTHING);
    runtime.done(&["status"]).failed_with(0, &[]);
    assert_eq!(answer(&runtime, "called:9080"), "200");
    // Rules that were replaced by a command are the file's again, and nobody says any more that they were.
    runtime.output(&[
        "rules",
        "apply",
        "--to",
        "called",
        "--rules",
        "profile:istio-1.12",
    ]);
    assert!(up(&[]).starts_with("~ rules  called  "));
    assert!(!runtime.output(&["status"]).contains("were replaced"));
    assert_eq!(runtime.pid("small"), supervisor);
    runtime.down("small");
}

#[test]
fn pods_come_change_and_go_while_the_others_keep_connections_and_counters() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    let script = "exec 3<>/dev/tcp/called/9080; echo there; read -r go; \
                  printf 'GET / HTTP/1.1\\r\\nHost: called\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3";
    let mut held = runtime.hoplab(&["exec", "caller", "--", "bash", "-c", script]);
    let mut held = held
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(held.stdout.take().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "there");
    let before = came_in(&runtime);
    let proxy = pid(&runtime, "proxy");

    runtime.file("small.toml", &format!("{SMALL}{THIRD}"));
    let done = runtime.output(&["up", &file]);
    let lines: Vec<&str> = done.lines().collect();
    let [of_file, "~ etc          /etc/hosts", "+ pod   third"] = lines[..] else {
        panic!("{done}");
    };
    assert!(
        of_file.starts_with("~ file         its file differs from line 41: "),
        "{done}"
    );
    assert_eq!(answer(&runtime, "third:9080"), "200");
    runtime.file(
        "small.toml",
        &format!("{SMALL}{}", THIRD.replace("10.77.0.12", "10.77.0.13")),
    );
    let done = json(&runtime, &["up", &file, "--json"]);
    assert_eq!(done["done"][2]["change"], "replace-pod", "{done:#}");
    assert_eq!(done["done"][2]["why"], "its address is 10.77.0.13 now");
    assert_eq!(answer(&runtime, "third:9080"), "200");
    let inside = |script: &str| runtime.output(&["exec", "caller", "--", "sh", "-c", script]);
    assert!(inside("cat /etc/hosts").contains("10.77.0.13 third"));

    assert_eq!(pid(&runtime, "proxy"), proxy);
    assert_eq!(came_in(&runtime), before, "counters go on");
    held.stdin
        .take()
        .expect("piped")
        .write_all(b"go\n")
        .expect("it reads");
    assert_eq!(
        said.next().expect("a line").expect("text").trim(),
        "HTTP/1.1 200 OK"
    );
    assert!(held.wait().expect("it ends").success());

    runtime.file("small.toml", SMALL);
    let done = runtime.output(&["up", &file]);
    assert!(done.contains("\n- pod   third\n"), "{done}");
    assert_eq!(
        json(&runtime, &["status", "--json"])["pods"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(answer(&runtime, "called:9080"), "200");
    runtime.down("small");
    runtime.assert_empty();
}

/// In as few labs as there can be: each of what can't be changed in place.
#[test]
fn what_cannot_be_changed_in_place_replaces_the_pod_and_says_why() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    let up = |flags: &[&str]| runtime.output(&[&["up", &file], flags].concat());
    let why =
        "↻ pod  called  its rules are held by iptables-legacy now, they were by iptables-nft\n";
    assert_eq!(up(&["--backend", "legacy"]), why);
    let done = up(&["--backend", "legacy", "--dual-stack"]);
    assert!(
        done.contains("it has rules of IPv4 and IPv6 now, it had of IPv4"),
        "{done}"
    );
    assert_eq!(up(&["--backend", "legacy", "--dual-stack"]), NOTHING);
    assert_eq!(answer(&runtime, "called:9080"), "200");
    let native = ["--native-nftables"];
    assert!(up(&native).contains("its rules are held by nft now"));
    runtime.output(&[
        "exec", "called", "--as", "root", "--", "nft", "flush", "ruleset",
    ]);
    assert!(up(&native).contains("~ rules  called  "));
    assert_eq!(up(&native), NOTHING);
    runtime.file("small.toml", &SMALL.replace("\"br0\"", "\"br1\""));
    let refused = runtime.done(&["up", &file]);
    refused.failed_with(4, &["can't be changed while it is up", "hoplab down"]);
    assert!(
        !runtime
            .output(&["status"])
            .contains("it is not what its file says")
    );
    runtime.down("small");
}

#[rstest]
fn a_change_that_fails_leaves_a_lab_of_which_everything_is_known() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    let fourth = THIRD
        .replace("third", "fourth")
        .replace("10.77.0.12", "10.77.0.14")
        .replace("fd77::12", "fd77::14");
    let own = "rules = { text = \"*nat\\n-A PREROUTING -p tcp -m owner --uid-owner 5 -j ACCEPT\\nCOMMIT\\n\" }\n";
    runtime.file("small.toml", &format!("{SMALL}{THIRD}{fourth}{own}"));
    let failed = runtime.done(&["up", &file]);
    failed.failed_with(2, &["not changed:\n+ pod  fourth\n"]);
    assert!(failed.stdout.ends_with("+ pod   third\n"), "{failed:#?}");
    let status = runtime.output(&["status"]);
    assert!(status.contains("it is not what its file says"), "{status}");
    assert!(
        status.contains("third") && !status.contains("fourth"),
        "{status}"
    );
    assert_eq!(answer(&runtime, "third:9080"), "200");
    runtime.file("small.toml", &format!("{SMALL}{THIRD}{fourth}"));
    assert!(runtime.output(&["up", &file]).ends_with("+ pod   fourth\n"));
    assert!(
        !runtime
            .output(&["status"])
            .contains("it is not what its file says")
    );
    assert_eq!(answer(&runtime, "fourth:9080"), "200");
    let ended = runtime.down("small");
    assert!(
        ended
            .stdout
            .contains("7 processes ended, 0 had to be killed, 4 namespaces"),
        "{ended:#?}"
    );
    runtime.assert_empty();
}
