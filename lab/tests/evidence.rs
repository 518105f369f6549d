//! The evidence file of a run: what `run` writes, `judge` and `report` read, also when the run was cut off.

mod command;

use std::{fs, path::Path, process::Command};

use command::{Ended, HOPLAB, Running, Scratch, hoplab, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

/// Sends flows of Bookinfo, with the evidence in a file, and gives the run back with its path.
fn recorded(scratch: &Scratch, args: &[&str]) -> (Ended, String) {
    let path = path(scratch, "evidence.ndjson");
    let begin = ["run", "bookinfo", "--evidence", &path];
    let all: Vec<&str> = begin.into_iter().chain(args.iter().copied()).collect();
    (run(&mut hoplab(&all)), path)
}

fn path(scratch: &Scratch, name: &str) -> String {
    scratch.path().join(name).display().to_string()
}

fn judge(file: &str, args: &[&str]) -> Ended {
    let all: Vec<&str> = ["judge", file].iter().chain(args).copied().collect();
    run(&mut hoplab(&all))
}

fn read(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("it was written");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("one value per line")
}

fn write(path: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("it can be written");
}

#[rstest]
#[case::ipv4(&[])]
#[case::ipv6(&["--family", "ipv6"])]
#[case::legacy(&["--backend", "legacy"])]
#[case::other_rules(&["--istio", "1.32", "--inbound-interception-mode", "TPROXY", "--dual-stack"])]
fn a_run_is_judged_from_its_file_as_it_was_when_it_ran(#[case] args: &[&str]) {
    let scratch = Scratch::new();
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let (ran, file) = recorded(&scratch, &args);
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    let judged = judge(&file, &["--json"]);
    assert_eq!(judged.status.code(), Some(0), "{}", judged.stderr);
    assert_eq!(judged.stdout, ran.stdout);
}

#[test]
fn judge_and_report_print_what_run_did() {
    let scratch = Scratch::new();
    let out = path(&scratch, "out");
    let junit = path(&scratch, "junit.xml");
    let flow = ["--flow", "app-to-own-ip", "--flow", "outside-to-15006"];
    let shown = ["-v", "--counters", "--out", &out, "--junit", &junit];
    let all = ["run", "bookinfo"].into_iter().chain(flow).chain(shown);
    let ran = run(&mut hoplab(&all.collect::<Vec<_>>()));
    let file = format!("{out}/evidence.ndjson");
    assert_eq!(judge(&file, &["-v", "--counters"]).stdout, ran.stdout);
    let written = fs::read_to_string(junit).expect("it was written");
    let report = run(&mut hoplab(&["report", &file, "--format", "junit"]));
    // All but the time at which each was made.
    let cases = |xml: &str| xml.matches("<testcase").count();
    assert_eq!(cases(&report.stdout), cases(&written));
    let text = run(&mut hoplab(&["report", &file]));
    assert!(ran.stdout.ends_with(&text.stdout), "{}", text.stdout);
}

/// A file that fits together, but tells another story.
#[rstest]
#[case::a_counter(
    "counters",
    "/rules/ipv4 nat ISTIO_OUTPUT 4/packets",
    9,
    "nat ISTIO_OUTPUT 4"
)]
#[case::an_owner("log", "/owner/uid", 9, "wanted socket owner")]
fn a_file_that_was_changed_is_refuted_and_the_change_named(
    #[case] kind: &str,
    #[case] place: &str,
    #[case] value: u64,
    #[case] named: &str,
) {
    let scratch = Scratch::new();
    let (_, file) = recorded(&scratch, &["--flow", "app-to-own-ip"]);
    let mut lines = read(&file);
    // Who accepts is in the owner of no rule.
    let is_one = |line: &Value| line["kind"] == kind && line["event"] != "accept";
    let mut all = lines.iter_mut().filter(|line| is_one(line));
    let changed = all.find_map(|line| line.pointer_mut(place));
    *changed.expect("there is such a value") = value.into();
    write(&file, &lines);
    let judged = judge(&file, &["-q"]);
    assert_eq!(judged.status.code(), Some(1), "{}", judged.stderr);
    assert!(judged.stdout.contains("Refuted"), "{}", judged.stdout);
    assert!(judged.stdout.contains(named), "{}", judged.stdout);
}

#[test]
fn a_run_that_is_killed_leaves_a_file_that_says_after_which_flow_it_ends() {
    let scratch = Scratch::new();
    let file = path(&scratch, "evidence.ndjson");
    let mut command = hoplab(&["run", "bookinfo", "--evidence", &file]);
    command
        .env("HOPLAB_FREEZE_AT", "flow app-to-own-ip")
        .env("HOPLAB_ORPHAN_GRACE_MS", "200");
    let mut running = Running::start(&mut command);
    running.says("frozen at flow app-to-own-ip");
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).expect("it is there");
    running.ended();
    let judged = judge(&file, &[]);
    assert_eq!(judged.status.code(), Some(5), "{}", judged.stderr);
    let words = "the evidence ends after flow probe-15008 (9 of 23)\n";
    assert!(judged.stdout.contains(words), "{}", judged.stdout);
    assert!(
        judged.stdout.contains("9 of 9 flows hold"),
        "{}",
        judged.stdout
    );
}

/// A limit on the size of files stands for a disk that is full.
#[test]
fn a_run_whose_file_can_not_grow_ends_at_once_and_leaves_what_it_wrote() {
    let scratch = Scratch::new();
    let file = path(&scratch, "evidence.ndjson");
    let script = "trap '' XFSZ; ulimit -f 600; exec \"$0\" run bookinfo --evidence \"$1\"";
    let ended = run(Command::new("sh").args(["-c", script, HOPLAB, &file]));
    let words = format!("error: could not write to {file}\n  because File too large");
    ended.failed_with(3, &[&words, "`hoplab judge` tells how far the file goes"]);
    let judged = judge(&file, &[]);
    assert_eq!(judged.status.code(), Some(5), "{}", judged.stderr);
    assert!(
        judged.stdout.contains("the evidence ends after flow"),
        "{}",
        judged.stdout
    );
    assert!(judged.stdout.contains(" is torn\n"), "{}", judged.stdout);
}

#[test]
fn evidence_is_never_overwritten() {
    let scratch = Scratch::new();
    let file = scratch.file("evidence.ndjson", "precious");
    let again = run(&mut hoplab(&["run", "bookinfo", "--evidence", &file]));
    again.failed_with(
        2,
        &[
            &format!("error: {file} exists already"),
            "help: name another",
        ],
    );
    let out = scratch.path().display().to_string();
    let again = run(&mut hoplab(&["run", "bookinfo", "--out", &out]));
    again.failed_with(2, &[&format!("error: {file} exists already")]);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
}

/// The rules can't be applied: the lab never comes up.
#[test]
fn a_lab_that_does_not_come_up_leaves_no_file_and_no_directory() {
    let scratch = Scratch::new();
    let text = "* nat\n-A OUTPUT -m nosuchmatch -j ACCEPT\nCOMMIT\n";
    let rules = scratch.file("bad.rules", text);
    let out = path(&scratch, "out");
    let args = ["run", "bookinfo", "--rules", &rules, "--out", &out];
    let ended = run(&mut hoplab(&args));
    assert_ne!(ended.status.code(), Some(0));
    assert!(!Path::new(&out).exists(), "{}", ended.stderr);
}

#[rstest]
#[case::a_directory_that_is_not_there("nowhere/evidence.ndjson", "No such file or directory")]
#[case::a_directory("", "Is a directory")]
fn a_place_that_can_not_be_written_to_is_told_before_anything_comes_up(
    #[case] name: &str,
    #[case] why: &str,
) {
    let scratch = Scratch::new();
    let file = path(&scratch, name);
    let ended = run(&mut hoplab(&["run", "bookinfo", "--evidence", &file]));
    ended.failed_with(2, &[why]);
}

#[rstest]
#[case::no_file("nowhere.ndjson", "could not read")]
#[case::something_else("Cargo.toml", "is not an evidence file")]
fn what_is_no_evidence_is_refused(
    #[case] name: &str,
    #[case] why: &str,
    #[values("judge", "report")] verb: &str,
) {
    let ended = run(&mut hoplab(&[verb, name]));
    ended.failed_with(2, &[why]);
}

/// Reading a file needs nobody's rights but those to read it: not even those of a user namespace.
#[test]
fn judge_needs_no_root() {
    let scratch = Scratch::new();
    let (_, file) = recorded(&scratch, &["--flow", "app-to-own-ip"]);
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]);
    let judged = run(command.args([HOPLAB, "judge", &file]));
    assert_eq!(judged.status.code(), Some(0), "{}", judged.stderr);
}
