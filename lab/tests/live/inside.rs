//! Commands and shells in pods.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use super::{
    command::{Running, runtime::Runtime, traces::children_of, wait_for},
    small,
};

#[rstest]
#[case::the_apps_user_by_default("called", &[], "1000:1000 called")]
#[case::its_proxy("called", &["--as", "proxy"], "1337:1337 called")]
#[case::root("called", &["--as", "root"], "0:0 called")]
#[case::anyone("caller", &["--as", "1337:1000"], "1337:1000 caller")]
#[case::the_node("node", &[], "0:0 node")]
fn a_command_runs_in_the_pod_as_whom_one_asked_for(
    #[case] pod: &str,
    #[case] flags: &[&str],
    #[case] wanted: &str,
) {
    let runtime = Runtime::new();
    small(&runtime);
    let words = ["--", "sh", "-c", "echo $(id -u):$(id -g) $(hostname)"];
    let args = [&["exec", pod], flags, &words].concat();
    assert_eq!(runtime.output(&args).trim(), wanted);
    runtime.down("small");
}

#[test]
fn a_command_sees_the_pods_network_and_the_labs_processes_and_files() {
    let runtime = Runtime::new();
    small(&runtime);
    let inside = |script: &str| runtime.output(&["exec", "called", "--", "sh", "-c", script]);
    let own = "cat /proc/net/fib_trie";
    assert!(inside(own).contains("10.77.0.11") && !inside(own).contains("10.77.0.10"));
    assert!(inside("cat /proc/1/comm /proc/1/cmdline").contains("__supervisor"));
    assert_eq!(
        inside("echo $HOPLAB_LAB/$HOPLAB_POD").trim(),
        "small/called"
    );
    runtime.down("small");
}

#[rstest]
#[case::its_own("exit 7", 7)]
#[case::a_signal("kill -TERM $$", 143)]
#[case::killed_but_not_with_the_lab("kill -KILL $$", 137)]
fn the_exit_code_is_the_commands(#[case] script: &str, #[case] code: i32) {
    let runtime = Runtime::new();
    small(&runtime);
    let ended = runtime.done(&["exec", "called", "--", "sh", "-c", script]);
    assert_eq!(
        (ended.status.code(), ended.stderr.as_str()),
        (Some(code), "")
    );
    runtime.down("small");
}

#[test]
fn standard_input_goes_to_the_command() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut command = runtime.hoplab(&["exec", "called", "--", "cat"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"hello").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"hello");
    runtime.down("small");
}

#[rstest]
#[case::pod(&["caled"], "has no pod `caled`", 2)]
#[case::proxy(&["caller", "--as", "proxy"], "pod `caller` of lab `small` has no proxy", 2)]
#[case::who(&["called", "--as", "me"], "app, proxy, root or UID:GID", 2)]
#[case::lab(&["called", "--lab", "smal"], "did you mean `small`?", 4)]
fn what_is_not_there_is_named(#[case] args: &[&str], #[case] words: &str, #[case] code: i32) {
    let runtime = Runtime::new();
    small(&runtime);
    let args = [&["exec"], args, &["--", "true"]].concat();
    runtime.done(&args).failed_with(code, &[words]);
    runtime.down("small");
}

#[test]
fn a_command_in_a_pod_ends_with_its_lab_and_says_so() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut command = runtime.hoplab(&["exec", "called", "--", "sleep", "600"]);
    let command = Running::start(&mut command);
    wait_for("the command", || children_of(command.pid()).next());
    let said = runtime.done(&["down"]);
    assert!(
        said.stdout
            .contains("3 processes ended, 0 had to be killed"),
        "{said:#?}"
    );
    said.failed_with(0, &[]);
    assert!(!said.stderr.contains("left over"), "{}", said.stderr);
    let words = ["lab `small` went down while the command ran"];
    command.ended().failed_with(4, &words);
    runtime.assert_empty();
}

#[test]
fn the_lab_goes_on_when_a_command_in_it_is_killed_from_outside() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut command = runtime.hoplab(&["exec", "called", "--", "sleep", "600"]);
    let command = Running::start(&mut command);
    let sleep = wait_for("the command", || children_of(command.pid()).next());
    kill(Pid::from_raw(sleep), Signal::SIGTERM).expect("it is there");
    assert_eq!(command.ended().status.code(), Some(143));
    runtime.output(&["status"]);
    runtime.down("small");
}

/// A command that says what it was told and lives on, and the process it has become.
fn stubborn(runtime: &Runtime) -> (Running, i32) {
    let script =
        "trap 'echo told >&2; exit 9' TERM HUP; echo here >&2; while :; do read line; done";
    let words = ["exec", "called", "--", "sh", "-c", script];
    let mut command = runtime.hoplab(&words);
    let (stdin, held) = std::io::pipe().expect("there is room for a pipe");
    // Held by this process for good: the command never reads the end of its input.
    std::mem::forget(held);
    let mut running = Running::start_with_input(&mut command, stdin.into());
    running.says("here");
    let shell = children_of(running.pid()).next().expect("it runs");
    (running, shell)
}

#[test]
fn a_command_is_killed_when_the_hoplab_that_started_it_is() {
    let runtime = Runtime::new();
    small(&runtime);
    let (mut running, shell) = stubborn(&runtime);
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).expect("it is there");
    running.exits();
    wait_for("the end of the command", || {
        (!PathBuf::from(format!("/proc/{shell}")).exists()).then_some(())
    });
    runtime.down("small");
}

#[rstest]
fn a_request_to_end_is_handed_on_to_the_command(
    #[values(Signal::SIGTERM, Signal::SIGHUP)] signal: Signal,
) {
    let runtime = Runtime::new();
    small(&runtime);
    let (mut running, _) = stubborn(&runtime);
    kill(Pid::from_raw(running.pid()), signal).expect("it is there");
    running.says("told");
    assert_eq!(running.ended().status.code(), Some(9));
    runtime.down("small");
}

/// What a person types into a shell on a terminal, and what is on the screen then.
#[test]
fn a_shell_shows_lab_pod_and_user_has_job_control_and_ends_with_its_last_code() {
    let runtime = Runtime::new();
    small(&runtime);
    let shell = format!("{} shell called --as proxy", super::command::HOPLAB);
    // util-linux: a terminal, and the exit code of what ran in it.
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &shell, "/dev/null"]);
    terminal.env("HOPLAB_RUNTIME_DIR", runtime.labs());
    terminal.env("SHELL", "/bin/bash").env("TERM", "dumb");
    let mut child = terminal
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    // The arithmetic tells what the shell says from what the terminal echoes.
    stdin
        .write_all(b"echo uid-$(id -u)-$((40+2))\nsleep 600 &\nkill %1\nwait\nexit 9\n")
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let screen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(9), "{screen}");
    assert!(screen.contains("[small/called uid=1337]"), "{screen}");
    assert!(screen.contains("uid-1337-42"), "{screen}");
    assert!(!screen.contains("no job control"), "{screen}");
    runtime.down("small");
}

/// What a shell in the pod `called` prints on a terminal for what is typed into it.
fn typed(runtime: &Runtime, flags: &str, lines: &str) -> String {
    let shell = format!("{} shell called {flags}", super::command::HOPLAB);
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &shell, "/dev/null"]);
    terminal.env("HOPLAB_RUNTIME_DIR", runtime.labs());
    terminal.env("SHELL", "/bin/bash").env("TERM", "dumb");
    let mut child = terminal
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_shell_has_commands_that_say_what_its_pod_does() {
    let runtime = Runtime::new();
    small(&runtime);
    // As the app's user, who may not look at rules.
    let lines = "why http://caller:9080/a/b | cat\nnat | cat\nnat | cat\nct | cat\nhops | cat\n\
        why https://caller/\necho code-$?\nexit\n";
    let screen = typed(&runtime, "", lines);
    assert!(screen.contains("called/app → caller:9080"), "{screen}");
    assert!(screen.contains("ISTIO_OUTPUT"), "{screen}");
    let moved = screen
        .lines()
        .filter(|it| it.contains("-j ISTIO_REDIRECT") && it.contains(" +1 "));
    assert_eq!(
        moved.count(),
        1,
        "the second `nat` has nothing to say\n{screen}"
    );
    assert!(
        screen.contains("nothing moved since the last reading"),
        "{screen}"
    );
    assert!(screen.contains("destination → 127.0.0.1:15001"), "{screen}");
    assert!(screen.contains("sent to 10.77.0.10:9080"), "{screen}");
    assert!(screen.contains("code-2"), "{screen}");
    // The user decides: what the proxy's sends is not turned to the proxy.
    let screen = typed(&runtime, "--as proxy", "why caller:9080 | cat\nexit\n");
    assert!(screen.contains("called/proxy → caller:9080"), "{screen}");
    assert!(
        !screen.contains("destination 10.77.0.10:9080 →"),
        "{screen}"
    );
    // Nothing of them is left in the lab.
    let left = runtime.output(&["exec", "called", "--", "ls", "/run/hoplab"]);
    assert!(!left.contains("shell-"), "{left}");
    runtime.down("small");
}
