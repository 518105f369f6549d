//! Shells and views on a terminal, as a person uses them.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use super::{
    command::{runtime::Runtime, terminal::Terminal},
    small,
};

/// The words that leave the other screen, on which a full-screen program draws.
const LEAVES: &[u8] = b"\x1b[?1049l";

fn shell(runtime: &Runtime) -> Terminal {
    let mut command = runtime.hoplab(&["shell", "called"]);
    let mut terminal = Terminal::start(&mut command, 24, 100);
    terminal.shows(&["[small/called uid=1000]"]);
    terminal
}

// Sums tell what a program says from what the terminal echoes.
#[test]
fn a_shell_follows_the_size_of_the_window_and_so_does_what_runs_in_it() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = shell(&runtime);
    terminal.types("stty size\n");
    terminal.shows(&["24 100"]);
    terminal.types("bash -c 'trap \"echo told-$((40+2)); exit\" WINCH; echo waits-$((40+3)); while :; do sleep 0.1; done'\n");
    terminal.shows(&["waits-43"]);
    terminal.resize(15, 60);
    terminal.shows(&["told-42"]);
    terminal.types("stty size\n");
    terminal.shows(&["15 60"]);
    terminal.types("exit\n");
    assert_eq!(terminal.ended().code(), Some(0));
    runtime.down("small");
}

#[test]
fn ctrl_c_and_ctrl_z_are_for_the_job_in_the_foreground_and_the_shell_lives_on() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = shell(&runtime);
    terminal.types("sh -c 'echo first-$((40+2)); exec sleep 600'\n");
    terminal.shows(&["first-42"]);
    terminal.types("\x03");
    terminal.types("echo code-$?\n");
    terminal.shows(&["code-130"]);
    terminal.types("sh -c 'echo second-$((40+3)); exec sleep 600'\n");
    terminal.shows(&["second-43"]);
    terminal.types("\x1a");
    terminal.shows(&["Stopped"]);
    terminal.types("bg\njobs\n");
    terminal.shows(&["Running"]);
    terminal.types("kill %1; wait; exit 7\n");
    assert_eq!(terminal.ended().code(), Some(7));
    assert!(terminal.is_as_shells_want_it());
    runtime.down("small");
}

#[test]
fn a_shell_says_so_when_its_lab_goes_down_and_gives_the_terminal_back() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = shell(&runtime);
    runtime.output(&["down"]);
    terminal.shows(&["lab `small` went down while the command ran"]);
    assert_eq!(terminal.ended().code(), Some(4));
    assert!(terminal.is_as_shells_want_it(), "{}", terminal.screen());
    runtime.assert_empty();
}

fn watch(runtime: &Runtime) -> Terminal {
    let mut command = runtime.hoplab(&["watch", "--every", "100ms"]);
    let mut terminal = Terminal::start(&mut command, 24, 110);
    terminal.shows(&[
        "small/called",
        "rules:",
        "ISTIO_INBOUND 1",
        "none yet",
        "q quit",
    ]);
    terminal
}

#[track_caller]
fn gave_the_terminal_back(terminal: &Terminal) {
    let mut words = terminal.written.windows(LEAVES.len());
    assert!(words.any(|it| it == LEAVES));
    assert!(terminal.is_as_shells_want_it());
}

#[test]
fn a_view_shows_counters_that_move_and_connections_and_goes_from_pod_to_pod() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = watch(&runtime);
    let call = [
        "exec",
        "caller",
        "--",
        "curl",
        "-4sf",
        "http://called:9080/",
    ];
    runtime.output(&call);
    terminal.shows(&[
        "→ 10.77.0.11:9080  ⇒ 10.77.0.11:15006",
        "PREROUTING 1 > ISTIO_INBOUND 5 > ISTIO_IN_REDIRECT 1",
    ]);
    terminal.types("m");
    terminal.shows(&["rules that moved", "     1 ", "nat ISTIO_IN_REDIRECT 1"]);
    assert!(
        !terminal.screen().contains("ISTIO_INBOUND 1 "),
        "{}",
        terminal.screen()
    );
    // As in a split window: the heading, both parts and the keys are still there.
    terminal.resize(15, 60);
    terminal.shows(&["small/called", "rules that moved", "connections", "q quit"]);
    terminal.types("\x1b[D");
    terminal.shows(&["small/caller", "none moved yet"]);
    terminal.types("q");
    assert_eq!(terminal.ended().code(), Some(0));
    gave_the_terminal_back(&terminal);
    runtime.down("small");
}

#[rstest]
#[case::interrupt(None, 0)]
#[case::terminate(Some(Signal::SIGTERM), 143)]
fn a_view_that_is_ended_gives_the_terminal_back_and_leaves_no_observer(
    #[case] signal: Option<Signal>,
    #[case] code: i32,
) {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = watch(&runtime);
    let tables = [
        "exec", "called", "--as", "root", "--", "nft", "list", "tables",
    ];
    assert!(runtime.output(&tables).contains("hoplab-trace-"));
    match signal {
        None => terminal.types("\x03"),
        Some(signal) => kill(Pid::from_raw(terminal.pid()), signal).expect("it runs"),
    }
    assert_eq!(terminal.ended().code(), Some(code));
    gave_the_terminal_back(&terminal);
    assert!(!runtime.output(&tables).contains("hoplab-trace-"));
    runtime.down("small");
}

#[test]
fn a_view_ends_with_its_lab_and_says_so() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut terminal = watch(&runtime);
    runtime.output(&["down"]);
    assert_eq!(terminal.ended().code(), Some(4));
    gave_the_terminal_back(&terminal);
    assert!(
        terminal.screen().contains("lab `small` went down"),
        "{}",
        terminal.screen()
    );
    runtime.assert_empty();
}

#[test]
fn a_view_needs_a_terminal() {
    let runtime = Runtime::new();
    let words = ["this needs a terminal", "hoplab trace POD --json"];
    runtime.done(&["watch"]).failed_with(2, &words);
}
