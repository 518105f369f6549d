//! `hoplab rules render` as a person calls it: what goes where, and with which exit code.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use rstest::rstest;

const POD: &str = "\
kind: Pod
metadata:
  annotations:
    traffic.sidecar.istio.io/includeInboundPorts: \"8080\"
";

/// Runs with no variable but those given, and the manifest on standard input.
fn render(words: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hoplab"))
        .args(["rules", "render"])
        .args(words.split_whitespace())
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Not everyone reads it.
    let _ = child.stdin.take().unwrap().write_all(POD.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(words: &str) -> String {
    let output = render(words, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[rstest]
#[case("--pod -", "--dport 8080 -j ISTIO_IN_REDIRECT")]
#[case("--pod - -b 9090", "--dport 9090 -j ISTIO_IN_REDIRECT")]
#[case(
    "--pod - --annotation traffic.sidecar.istio.io/includeInboundPorts=7070",
    "--dport 7070 -j ISTIO_IN_REDIRECT"
)]
#[case(
    "--pod - --injected-by cni",
    "-A ISTIO_OUTPUT -p udp --dport 15020 -j RETURN"
)]
#[case("-b 80 -b 81", "--dport 81 -j ISTIO_IN_REDIRECT")]
#[case("-nb 80 --redirect-dns=false", "--dport 80 -j ISTIO_IN_REDIRECT")]
#[case(
    "-b 80 --log_output_level=default:info",
    "--dport 80 -j ISTIO_IN_REDIRECT"
)]
fn what_was_said_last_and_loudest_counts(#[case] words: &str, #[case] expected: &str) {
    let text = stdout(words);
    assert!(text.contains(expected), "{text}");
    assert_eq!(text.matches("-j ISTIO_IN_REDIRECT").count(), 3, "{text}");
}

#[test]
fn a_flag_beats_its_variable_and_the_pod_beats_it_too() {
    let variables = [("ISTIO_INBOUND_PORTS", "6060")];
    let with_variable = String::from_utf8(render("", &variables).stdout).unwrap();
    assert!(with_variable.contains("--dport 6060"), "{with_variable}");
    for words in ["-b 80", "--pod -"] {
        let text = String::from_utf8(render(words, &variables).stdout).unwrap();
        assert!(!text.contains("6060"), "{text}");
    }
}

#[test]
fn both_families_are_printed_ipv4_first_or_one_of_them() {
    let both = stdout("-i * --ipv6");
    let v4 = stdout("-i * --ipv6 --family ipv4");
    let v6 = stdout("-i * --ipv6 --family ipv6");
    assert_eq!(both, format!("{v4}{v6}"));
    assert!(v6.contains("::6/128") && !v4.contains("::6/128"));
}

#[test]
fn what_is_no_rule_stays_out_of_standard_output() {
    let output = render("-m TPROXY -b *", &[]);
    assert!(
        stderr(&output).contains("#   ip -4 rule add fwmark 1337 lookup 133"),
        "{output:?}"
    );
    assert!(
        stderr(&output).contains("warning: TPROXY captures the tunnel port"),
        "{output:?}"
    );
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("ip -4"),
        "{output:?}"
    );
    assert_eq!(
        stdout("-m TPROXY -b * --routes"),
        "ip -4 rule add fwmark 1337 lookup 133\nip -4 route add local 0.0.0.0/0 dev lo table 133\n"
    );
}

#[rstest]
#[case(
    "--annotation sidecar.istio.io/interceptionMode=NONE",
    "its interception mode is NONE"
)]
#[case(
    "--annotation sidecar.istio.io/inject=false",
    "sidecar.istio.io/inject is `false`"
)]
fn a_pod_that_is_not_injected_gets_no_rules_and_a_word_why(#[case] words: &str, #[case] why: &str) {
    let output = render(words, &[]);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b""[..])
    );
    assert_eq!(
        stderr(&output),
        format!("warning: the pod is not captured: {why}\n")
    );
}

#[rstest]
#[case("--istio 1.40", "1.12 to 1.32")]
#[case("-b 80,x!", "help: give a comma list")]
#[case("--native-nftables --istio 1.26", "help: ask for 1.27 or newer")]
#[case(
    "--ambient --native-nftables --istio 1.27",
    "help: ask for 1.28 or newer"
)]
#[case(
    "--ambient --istio 1.23",
    "before 1.24 ambient mode did not capture with REDIRECT"
)]
#[case(
    "--native-nftables --family ipv4",
    "one transaction holds the rules of both families"
)]
#[case("--dns-servers dns.local", "`dns.local` is no IP address")]
#[case(
    "--annotation istio.io/reroute-virtual-interface=eth1",
    "did you mean `istio.io/reroute-virtual-interfaces`?"
)]
#[case(
    "--annotation sidecar.istio.io/interceptionMode=NONE --injected-by cni",
    "fails the pod"
)]
#[case("--pod no-such-file", "could not read no-such-file")]
fn a_wrong_input_ends_with_code_2_and_says_how_to_go_on(
    #[case] words: &str,
    #[case] expected: &str,
) {
    let output = render(words, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert!(output.stdout.is_empty(), "{output:?}");
}
