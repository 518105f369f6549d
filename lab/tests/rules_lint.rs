//! `hoplab rules lint` as a person uses it.

use std::process::{Command, Output};

fn lint(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoplab"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["rules", "lint"])
        .args(args)
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

const ISTIO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../scenarios/rules/istio-1.13.rules"
);

#[test]
fn the_three_rules_that_can_never_match_are_found_with_a_packet_each() {
    let (code, stdout, _) = lint(&[ISTIO]);
    assert_eq!(code, Some(1), "{stdout}");
    for place in [5, 6, 8] {
        let found = format!("IPv4 nat ISTIO_OUTPUT {place}: never-matches");
        assert!(stdout.contains(&found), "no `{found}` in\n{stdout}");
    }
    let dead = stdout
        .lines()
        .filter(|l| l.contains(": never-matches:"))
        .count();
    assert_eq!(dead, 3, "{stdout}");
}

#[test]
fn a_file_that_is_not_there_is_an_input_error() {
    let (code, stdout, stderr) = lint(&["no-such.rules"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("could not read no-such.rules"), "{stderr}");
}
