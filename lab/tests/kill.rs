//! However a lab ends, nothing of it stays: kill tests at every phase of up, run and down.
//!
//! The supervisor stands still at the phase that `HOPLAB_FREEZE_AT` names, so that a test meets it there.

mod command;

use std::{fs, process::Command, thread, time::Instant};

use command::{
    Running, Scratch, hoplab, run,
    runtime::Runtime,
    traces::{Traces, children_of},
    wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

/// A command whose lab stands still.
struct Frozen {
    command: Running,
    supervisor: Supervisor,
    traces: Traces,
}

/// Its process id. A test that fails kills it: nothing is to stay then either.
struct Supervisor(i32);

impl Drop for Supervisor {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL);
        }
    }
}

/// The watchdog of a lab that stands still is made quick: these tests are many.
fn frozen_at(phase: &str) -> Frozen {
    let mut command = hoplab(&["run", "bookinfo", "--flow", "outside-to-reviews"]);
    command.env("HOPLAB_ORPHAN_GRACE_MS", "200");
    frozen(&mut command, phase)
}

fn frozen(command: &mut Command, phase: &str) -> Frozen {
    let mut command = Running::start(command.env("HOPLAB_FREEZE_AT", phase));
    command.says(&format!("frozen at {phase}"));
    let supervisor = children_of(command.pid())
        .next()
        .expect("it has started one");
    let traces = Traces::of(supervisor);
    Frozen {
        command,
        supervisor: Supervisor(supervisor),
        traces,
    }
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process is there");
}

#[rstest]
fn a_killed_supervisor_leaves_nothing_and_the_command_says_what_happened(
    #[values(
        "mounted",
        "node",
        "namespace",
        "links",
        "rules",
        "processes",
        "up",
        "flow",
        "down"
    )]
    phase: &str,
) {
    let frozen = frozen_at(phase);
    send(frozen.supervisor.0, Signal::SIGKILL);
    let sentence = "error: the lab's supervisor is gone (signal SIGKILL)";
    frozen.command.ended().failed_with(4, &[sentence]);
    frozen.traces.assert_vanish();
}

/// The supervisor can't react where it stands still: its watchdog ends it.
#[rstest]
fn a_killed_command_leaves_nothing(
    #[values(
        "mounted",
        "node",
        "namespace",
        "links",
        "rules",
        "processes",
        "up",
        "flow",
        "down"
    )]
    phase: &str,
) {
    let frozen = frozen_at(phase);
    send(frozen.command.pid(), Signal::SIGKILL);
    assert_eq!(frozen.command.ended().status.code(), None);
    frozen.traces.assert_vanish();
}

#[test]
fn the_watchdog_works_without_being_told_how_long_to_wait() {
    let frozen = frozen(&mut hoplab(&["run", "bookinfo"]), "up");
    send(frozen.command.pid(), Signal::SIGKILL);
    frozen.traces.assert_vanish();
}

#[rstest]
fn a_signalled_command_leaves_nothing_and_exits_with_the_signals_code_even_if_its_lab_hangs(
    #[values((Signal::SIGINT, 130), (Signal::SIGTERM, 143))] (signal, code): (Signal, i32),
    #[values(
        "mounted",
        "node",
        "namespace",
        "links",
        "rules",
        "processes",
        "up",
        "flow",
        "down"
    )]
    phase: &str,
) {
    let frozen = frozen_at(phase);
    send(frozen.command.pid(), signal);
    frozen.command.ended().failed_with(code, &["interrupted"]);
    frozen.traces.assert_vanish();
}

/// Rules that let a probe's first packet vanish, so that its flow hangs.
const BLACK_HOLE: &str = "\
*nat
-A PREROUTING -p tcp -j RETURN
COMMIT
*filter
-A INPUT -p tcp --dport 15021 -j DROP
COMMIT
";

#[rstest]
#[case::interrupt(Signal::SIGINT, 130)]
#[case::terminate(Signal::SIGTERM, 143)]
fn a_signal_in_the_middle_of_a_flow_takes_the_lab_down_in_order_at_once(
    #[case] signal: Signal,
    #[case] code: i32,
) {
    let scratch = Scratch::new();
    let rules = scratch.file("black-hole.rules", BLACK_HOLE);
    let flow = ["run", "bookinfo", "--flow", "probe-15021"];
    let options = ["--rules", &rules, "--deadline", "600000"];
    let command = Running::start(&mut hoplab(&[&flow[..], &options[..]].concat()));
    let supervisor = wait_for("a connect that gets no answer", || {
        let supervisor = children_of(command.pid()).next()?;
        connecting(supervisor).then_some(supervisor)
    });
    let traces = Traces::of(supervisor);
    assert_eq!(traces.networks(), 10, "the node and nine pods: {traces:?}");
    let started = Instant::now();
    send(command.pid(), signal);
    command.ended().failed_with(code, &["interrupted"]);
    // The watchdog, which ends what does not end by itself, would take 3 s.
    assert!(
        started.elapsed().as_millis() < 2_500,
        "{:?}",
        started.elapsed()
    );
    traces.assert_vanish();
}

/// Is there a socket in state SYN_SENT in the process's network namespace?
fn connecting(pid: i32) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mut states = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    states.any(|state| state == "02")
}

#[test]
fn a_kept_lab_lives_on_until_it_is_told_to_end_and_then_leaves_nothing() {
    let runtime = Runtime::new();
    let args = ["run", "bookinfo", "--flow", "outside-to-reviews", "--keep"];
    let mut command = Running::start(&mut runtime.hoplab(&args));
    command.says("end it: hoplab down bookinfo");
    assert!(command.exits().success());
    let supervisor = runtime.pid("bookinfo");
    let traces = Traces::of(supervisor);
    assert_eq!(traces.networks(), 10, "the node and nine pods: {traces:?}");
    send(supervisor, Signal::SIGTERM);
    command.ended();
    traces.assert_vanish();
}

#[test]
fn a_kept_lab_does_not_hold_the_output_of_its_caller_open() {
    let runtime = Runtime::new();
    let args = ["run", "bookinfo", "--flow", "outside-to-reviews", "--keep"];
    // `output` reads both pipes to their end: it would wait for the lab.
    let output = runtime.hoplab(&args).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let traces = Traces::of(runtime.pid("bookinfo"));
    run(&mut runtime.hoplab(&["down"]));
    traces.assert_vanish();
    runtime.assert_empty();
}
