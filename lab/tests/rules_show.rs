//! `hoplab rules show` as a person uses it.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use rstest::rstest;
use serde_json::Value;

const ISTIO: &str = include_str!("../../scenarios/rules/istio-1.13.rules");
const ISTIO_V6: &str = include_str!("../../scenarios/rules/istio-1.13.v6.rules");

/// Exit code, standard output and standard error of `hoplab rules show -`, given a text.
fn show(text: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hoplab"))
        .args(["rules", "show", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn shown(text: &str, args: &[&str]) -> String {
    let (code, stdout, stderr) = show(text, args);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout
}

#[rstest]
#[case("restore", "\n* nat\n-N ISTIO_INBOUND\n")]
#[case("save", "\n:ISTIO_INBOUND - [0:0]\n")]
#[case("commands", "\n-P PREROUTING ACCEPT\n")]
#[case("list", "\nChain ISTIO_INBOUND (1 references)\n")]
fn what_is_shown_in_a_form_reads_back_as_the_same_rules(#[case] form: &str, #[case] sign: &str) {
    let text = shown(ISTIO, &["--as", form]);
    assert!(text.contains(sign), "{text}");
    assert_eq!(
        shown(&text, &["--as", "restore"]),
        shown(ISTIO, &["--as", "restore"])
    );
}

#[test]
fn by_default_every_rule_has_its_number_its_text_and_its_meaning() {
    let text = shown(ISTIO, &[]);
    let rule = "\n  4  -m owner --uid-owner 1337 -j RETURN\n     sent by user 1337: back to where the chain was entered\n";
    assert!(text.contains(rule), "{text}");
}

#[test]
fn counters_are_shown_where_the_text_has_them() {
    let text = "*nat\n:OUTPUT ACCEPT [7:420]\n[52:2704] -A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let annotated = shown(text, &[]);
    for figure in [
        "OUTPUT, else ACCEPT [7 packets]\n",
        "port 15001 of this machine [52 packets]\n",
    ] {
        assert!(annotated.contains(figure), "{annotated}");
    }
    assert!(shown(text, &["--as", "save"]).contains("[52:2704] -A OUTPUT"));
}

#[test]
fn json_has_every_rule_by_its_name() {
    let both = format!("# iptables-save\n{ISTIO}# ip6tables-save\n{ISTIO_V6}");
    let sets: Value = serde_json::from_str(&shown(&both, &["--as", "json"])).expect("JSON");
    let families: Vec<&str> = sets
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["family"].as_str())
        .collect();
    assert_eq!(families, ["ipv4", "ipv6"]);
    let chains = sets[1]["tables"][0]["chains"].as_array().expect("a list");
    let output = chains
        .iter()
        .find(|it| it["name"] == "ISTIO_OUTPUT")
        .expect("it is there");
    assert_eq!(output["rules"][3]["id"], "ipv6 nat ISTIO_OUTPUT 4");
    assert_eq!(sets[0]["origin"], "standard input");
}

#[test]
fn one_family_can_be_asked_for() {
    let both = format!("# iptables-save\n{ISTIO}# ip6tables-save\n{ISTIO_V6}");
    let v6 = shown(&both, &["--as", "restore", "--family", "ipv6"]);
    assert!(v6.contains("::6/128") && !v6.contains("127.0.0.6"), "{v6}");
    let (code, stdout, stderr) = show(ISTIO, &["--family", "ipv6"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains(
            "standard input holds no IPv6 rules\n  help: it holds IPv4 rules; leave --family out"
        ),
        "{stderr}"
    );
}

#[test]
fn what_is_not_modelled_is_named_and_shown() {
    let text = "*filter\n-A INPUT -m recent --set -j ACCEPT\nCOMMIT\n";
    let (code, stdout, stderr) = show(text, &["--as", "restore"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("-A INPUT -m recent --set -j ACCEPT"),
        "{stdout}"
    );
    assert_eq!(
        stderr,
        "note: IPv4 filter INPUT 1 is not modelled: -A INPUT -m recent --set -j ACCEPT\n"
    );
    let (_, stdout, _) = show(text, &["--as", "json"]);
    assert!(stdout.contains("\"modelled\": false"), "{stdout}");
}

#[test]
fn a_log_of_istio_init_shows_its_variables_and_its_rules() {
    let log = format!(
        "2022-04-21T09:15:29.331018Z\tinfo\tIstio iptables variables:\nPROXY_PORT=15001\nPROXY_UID=1337\n\n\
         2022-04-21T09:15:29.331144Z\tinfo\tWriting following contents to rules file: /tmp/iptables-rules-1.txt\n\
         {ISTIO}2022-04-21T09:15:29.331144Z\tinfo\tRunning command: iptables-restore --noflush /tmp/iptables-rules-1.txt\n"
    );
    let text = shown(&log, &[]);
    assert!(
        text.starts_with(
            "variables of istio-init\n\nPROXY_PORT=15001\nPROXY_UID=1337\n\nIPv4 table nat\n"
        ),
        "{text}"
    );
}

#[test]
fn a_table_that_is_there_twice_is_said_to_be() {
    let twice = format!("{ISTIO}\n# iptables-save\n{ISTIO}");
    let (code, _, stderr) = show(&twice, &[]);
    assert_eq!(code, Some(0));
    assert!(
        stderr.starts_with("note: standard input holds IPv4 nat 2 times, from the lines "),
        "{stderr}"
    );
}

#[test]
fn rules_of_native_nft_say_where_nft_has_them() {
    let text = "table inet istio-proxy-nat {\n chain output {\n type nat hook output priority -100;\n ip daddr 10.0.0.0/8 \
        counter packets 2 bytes 120 accept\n }\n}\n";
    let annotated = shown(text, &[]);
    for words in [
        "OUTPUT (nft: inet istio-proxy-nat output, type nat, priority -100), else ACCEPT\n  1  -d 10.0.0.0/8 -j ACCEPT\n",
        "IPv4 only (ip daddr 10.0.0.0/8): goes on as it is [2 packets]\n",
    ] {
        assert!(annotated.contains(words), "{annotated}");
    }
}

#[rstest]
#[case::no_rules("all is well\n", "standard input:1:1: no rules found")]
#[case::a_typo(
    "*nat\n-N ISTIO_INBOUND\n-A PREROUTING -j ISTIO_INBUND\nCOMMIT\n",
    "standard input:3:18: chain `ISTIO_INBUND` does not exist"
)]
#[case::nft(
    "table inet t {\n chain c {\n jump nowhere\n }\n}\n",
    "standard input:3:7: jump to chain `nowhere`"
)]
fn what_cannot_be_read_is_an_input_error_with_its_place(#[case] text: &str, #[case] said: &str) {
    let (code, stdout, stderr) = show(text, &[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with(&format!("error: {said}")), "{stderr}");
}
