//! `hoplab rules read-counters` as a person uses it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

const DUMP: &str = "\
*nat
:PREROUTING ACCEPT [1:60]
:SIDE - [0:0]
[4:240] -A PREROUTING -p tcp -j SIDE
[1:60] -A SIDE -p tcp -m tcp --dport 15021 -j RETURN
[3:180] -A SIDE -p tcp -j REDIRECT --to-ports 15006
COMMIT
";

fn read(dump: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoplab"));
    let command = command
        .args(["rules", "read-counters", "--color", "never", "-"])
        .args(args);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(dump.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn figures_are_told_in_words_and_sums() {
    let (code, stdout, _) = read(DUMP, &[]);
    assert_eq!(code, Some(0), "{stdout}");
    insta::assert_snapshot!(stdout, @r"
    IPv4 nat  a packet is a connection: nat is asked for the first one only
                         3  inbound, turned to the proxy
                         3    SIDE 2: everything else -> port 15006
                         1  inbound, left alone (probes, excluded ports)
                         1    SIDE 1: --dport 15021
                         0  past the rules (another protocol, or nothing names it)
                         0    PREROUTING policy: met no rule of PREROUTING that decides
    sums
      ✔ SIDE 1 + 2: 1 + 3 = 4 is 4 (PREROUTING 1)
      ✔ rules that let pass at PREROUTING: 1 is at most 1 (the policy of PREROUTING)
    bytes per packet
               60  each, as TCP SYNs have: PREROUTING 1; SIDE 1, 2
    ");
}

#[test]
fn figures_that_do_not_add_up_exit_with_1() {
    let (code, stdout, _) = read(&DUMP.replace("[3:180]", "[2:120]"), &[]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(
        stdout.contains("✗ SIDE 1 + 2: 1 + 2 = 3 is 4 (PREROUTING 1)  does not add up"),
        "{stdout}"
    );
}

#[test]
fn json_has_kinds_sums_and_the_verdict() {
    let (code, stdout, _) = read(DUMP, &["--json"]);
    assert_eq!(code, Some(0));
    let value: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let table = &value["tables"][0];
    assert_eq!(table["kinds"]["inbound-captured"], 3);
    assert_eq!(table["kinds"]["inbound-left-alone"], 1);
    assert_eq!(table["adds_up"], true);
}

#[test]
fn a_dump_without_counters_is_an_input_error_with_the_repair() {
    let (code, stdout, stderr) = read("*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n", &[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("nat OUTPUT 1 carries no counters"),
        "{stderr}"
    );
    assert!(stderr.contains("iptables-save -c"), "{stderr}");
}
