//! Commands and supervisors that end in the wrong moment.

use std::process::Command;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use super::{
    SMALL,
    command::{
        Running,
        runtime::Runtime,
        traces::{Traces, children_of},
    },
    small,
};

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process is there");
}

#[test]
fn a_lab_whose_supervisor_was_killed_is_stale_until_it_is_pruned() {
    let runtime = Runtime::new();
    small(&runtime);
    let supervisor = runtime.pid("small");
    let traces = Traces::of(supervisor);
    send(supervisor, Signal::SIGKILL);
    traces.assert_vanish();
    let list = runtime.output(&["ls"]);
    assert!(list.contains("small  stale"), "{list}");
    let words = ["lab `small` is stale", "hoplab prune small"];
    runtime.done(&["status", "small"]).failed_with(4, &words);
    let said = runtime.output(&["prune"]);
    assert_eq!(said, "removed what was left of lab `small`\n");
    runtime.assert_empty();
}

#[test]
fn down_of_a_stale_lab_removes_what_is_left_of_it() {
    let runtime = Runtime::new();
    small(&runtime);
    let supervisor = runtime.pid("small");
    let traces = Traces::of(supervisor);
    send(supervisor, Signal::SIGKILL);
    traces.assert_vanish();
    let said = runtime.down("small").stdout;
    assert!(said.contains("its supervisor had ended before"), "{said}");
    runtime.assert_empty();
}

#[test]
fn up_takes_the_place_of_a_stale_lab() {
    let runtime = Runtime::new();
    let file = small(&runtime);
    let first = runtime.pid("small");
    let traces = Traces::of(first);
    send(first, Signal::SIGKILL);
    traces.assert_vanish();
    let ended = runtime.done(&["up", &file]);
    let words = format!("ended without being taken down (supervisor {first})");
    ended.failed_with(0, &[&words]);
    assert_ne!(runtime.pid("small"), first);
    runtime.down("small");
    runtime.assert_empty();
}

/// A command that brings up the small lab and stands still on its way; and its supervisor.
fn frozen(runtime: &Runtime, phase: &str) -> (Running, i32) {
    let file = runtime.file("small.toml", SMALL);
    let mut command = runtime.hoplab(&["up", &file]);
    let quick = command.env("HOPLAB_ORPHAN_GRACE_MS", "200");
    let mut command = Running::start(quick.env("HOPLAB_FREEZE_AT", phase));
    command.says(&format!("frozen at {phase}"));
    let supervisor = children_of(command.pid()).next().expect("it has one");
    (command, supervisor)
}

#[rstest]
fn a_command_that_is_killed_as_it_brings_up_a_lab_leaves_a_place_for_the_next(
    #[values("mounted", "rules", "up")] phase: &str,
) {
    let runtime = Runtime::new();
    let (command, supervisor) = frozen(&runtime, phase);
    let list = runtime.output(&["ls"]);
    assert!(list.contains("small  unsettled"), "{list}");
    let traces = Traces::of(supervisor);
    send(command.pid(), Signal::SIGKILL);
    command.ended();
    traces.assert_vanish();
    let list = runtime.output(&["ls"]);
    assert!(list.contains("small  stale"), "{list}");
    small(&runtime);
    runtime.down("small");
    runtime.assert_empty();
}

#[rstest]
#[case::interrupt(Signal::SIGINT, 130)]
#[case::terminate(Signal::SIGTERM, 143)]
fn a_command_that_is_told_to_stop_as_it_brings_up_a_lab_leaves_nothing(
    #[case] signal: Signal,
    #[case] code: i32,
) {
    let runtime = Runtime::new();
    let (command, supervisor) = frozen(&runtime, "rules");
    let traces = Traces::of(supervisor);
    send(command.pid(), signal);
    command.ended().failed_with(code, &["interrupted"]);
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn a_supervisor_that_is_killed_as_its_lab_comes_up_leaves_nothing() {
    let runtime = Runtime::new();
    let (command, supervisor) = frozen(&runtime, "links");
    let traces = Traces::of(supervisor);
    send(supervisor, Signal::SIGKILL);
    command
        .ended()
        .failed_with(4, &["the lab's supervisor is gone (signal SIGKILL)"]);
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn a_lab_that_hangs_is_taken_down_all_the_same() {
    let runtime = Runtime::new();
    small(&runtime);
    let supervisor = runtime.pid("small");
    let traces = Traces::of(supervisor);
    // Waits in vain for its turn of the processor; SIGTERM does not reach it either.
    send(supervisor, Signal::SIGSTOP);
    runtime.done(&["status", "small"]).failed_with(4, &[]);
    let said = runtime.down("small").stdout;
    assert!(
        said.contains("was killed; the kernel removed everything"),
        "{said}"
    );
    traces.assert_vanish();
    runtime.assert_empty();
}

#[test]
fn a_lab_outlives_the_session_that_brought_it_up() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    let up = runtime.hoplab(&["up", &file]);
    let mut session = Command::new("setsid");
    session
        .arg("--wait")
        .arg(up.get_program())
        .args(up.get_args());
    session.env("HOPLAB_RUNTIME_DIR", runtime.labs());
    assert!(session.status().expect("it starts").success());
    assert_eq!(runtime.find("small").is_in_use(), Some(false));
    runtime.down("small");
    runtime.assert_empty();
}
