//! `hoplab predict` as a person uses it.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use rstest::rstest;

const ISTIO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../scenarios/rules/istio-1.13.rules"
);

fn predict(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoplab"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["predict", "--color", "never", "--rules"])
        .args(args)
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_proxys_call_to_its_own_pod_is_told_rule_by_rule() {
    let (code, stdout, _) = predict(&[ISTIO, "uid=1337 out=lo dst=10.244.1.20:9080"]);
    assert_eq!(code, Some(0), "{stdout}");
    insta::assert_snapshot!(stdout, @r"
    packet   tcp 10.244.1.20:40000 -> 10.244.1.20:9080, NEW, user 1337 group 1337, out by lo
    assumed  10.244.1.20 is the address of this machine: it is reached by lo
             it comes from 10.244.1.20
             it comes from port 40000
             its group is 1337, as its user

    OUTPUT, out by lo
      raw, mangle, filter: no rules
      nat
        OUTPUT
          ✔  1  -p tcp -j ISTIO_OUTPUT
                matched: asks ISTIO_OUTPUT
          ISTIO_OUTPUT
            ✗  1  -s 127.0.0.6/32 -o lo -j RETURN
                  no match: wanted -s 127.0.0.6/32, had 10.244.1.20
            ✔  2  ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
                  matched: asks ISTIO_IN_REDIRECT
            ISTIO_IN_REDIRECT
              ✔  1  -p tcp -j REDIRECT --to-ports 15006
                    matched: turned to port 15006 of this machine
        decided: redirected to port 15006 by nat ISTIO_IN_REDIRECT 1

    POSTROUTING, out by lo
      mangle, nat: no rules

    PREROUTING, in by lo
      raw, mangle: no rules
      nat: not asked, an earlier hook asked it about this connection

    INPUT, in by lo
      mangle, filter: no rules
      nat: not asked, an earlier hook asked it about this connection

    outcome  ✔ delivered to the socket on 127.0.0.1:15006; it was sent to 10.244.1.20:9080 (redirected to port 15006 by nat ISTIO_IN_REDIRECT 1)
    ");
}

#[rstest]
#[case::captured(
    "in=eth0 dst=10.244.1.20:9080",
    "delivered to the socket on 10.244.1.20:15006"
)]
#[case::excluded(
    "in=eth0 dst=10.244.1.20:15021",
    "delivered to the socket on 10.244.1.20:15021"
)]
#[case::outbound(
    "uid=1000 dst=10.0.0.9:80",
    "delivered to the socket on 127.0.0.1:15001"
)]
#[case::the_proxys_own("uid=1337 dst=10.0.0.9:80", "sent out to 10.0.0.9:80")]
#[case::own_pod(
    "uid=1000 out=lo dst=10.244.1.20:9080",
    "delivered to the socket on 10.244.1.20:9080"
)]
#[case::no_rules_of_the_family("in=eth0 dst=[fd00::2]:80", "the rules hold nothing for IPv6")]
fn each_kind_of_connection_has_its_outcome_on_one_line(#[case] packet: &str, #[case] end: &str) {
    let (code, stdout, _) = predict(&[ISTIO, "-q", packet]);
    assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{stdout}");
    assert!(stdout.starts_with(&format!("{packet}: ✔ ")), "{stdout}");
    assert!(stdout.contains(end), "{stdout}");
}

#[test]
fn json_names_the_rules_and_the_end() {
    let (code, stdout, _) = predict(&[ISTIO, "--json", "uid=1000 dst=10.0.0.9:80"]);
    assert_eq!(code, Some(0));
    let value: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let answer = &value["packets"][0]["answer"];
    assert_eq!(answer["end"]["kind"], "delivered");
    assert_eq!(answer["end"]["at"], "127.0.0.1:15001");
    let nat = &answer["hooks"][0]["tables"][2];
    assert_eq!(nat["tried"][0]["rule"], "ipv4 nat OUTPUT 1");
    assert_eq!(nat["tried"][1]["wanted"], "127.0.0.6/32");
    assert_eq!(nat["decided"]["by"], "ipv4 nat ISTIO_REDIRECT 1");
}

#[test]
fn what_is_not_modelled_is_called_unknown_and_exits_with_5() {
    let scratch = std::env::temp_dir().join(format!("hoplab-predict-{}", std::process::id()));
    let text = "*nat\n-A OUTPUT -p tcp -m limit --limit 1/s -j REDIRECT --to-ports 1\nCOMMIT\n";
    std::fs::write(&scratch, text).expect("the directory is writable");
    let file = scratch.display().to_string();
    let (code, stdout, _) = predict(&[
        &file,
        "-q",
        "uid=1000 dst=10.0.0.9:80",
        "in=lo dst=127.0.0.1:80",
    ]);
    std::fs::remove_file(scratch).expect("it was written above");
    assert_eq!(code, Some(5), "{stdout}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].contains("? unknown: unknown at nat OUTPUT 1"),
        "{stdout}"
    );
    assert!(lines[1].contains("✔ delivered"), "{stdout}");
}

#[test]
fn a_wrong_word_is_pointed_at_and_nothing_is_printed() {
    let (code, stdout, stderr) =
        predict(&[ISTIO, "uid=1 dst=10.0.0.1:80", "in=eth0 dsst=10.0.0.1"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("packet 2:1:9: a packet has no `dsst`"),
        "{stderr}"
    );
    assert!(stderr.contains("did you mean `dst`?"), "{stderr}");
}

#[test]
fn nat_rules_that_only_return_are_not_asked_where_nothing_wakes_conntrack() {
    let returns = "*nat\n-A OUTPUT -p tcp -j RETURN\nCOMMIT\n";
    let wakes = "*mangle\n-A INPUT -m conntrack --ctstate NEW\nCOMMIT\n";
    let told = |rules: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoplab"));
        command.args(["predict", "--color", "never", "--rules", "-"]);
        command.arg("uid=1000 dst=10.0.0.9:80");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(rules.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let asleep = told(returns);
    assert!(
        asleep.contains("nat: not asked, conntrack sleeps"),
        "{asleep}"
    );
    assert!(!asleep.contains("-j RETURN"), "{asleep}");
    let awake = told(&format!("{wakes}{returns}"));
    assert!(awake.contains("✔  1  -p tcp -j RETURN"), "{awake}");
}
