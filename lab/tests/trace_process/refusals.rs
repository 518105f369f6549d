//! Where it does not trace, and why.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, process::Command};

use hoplab::{netfilter::Backend, rules::Family};
use nix::unistd::Uid;
use rstest::rstest;

use super::{
    HOPLAB, Pod,
    command::{Scratch, hoplab, run},
    sandbox::in_sandbox,
};

#[rstest]
fn the_machines_own_namespace_is_refused_without_the_flag_for_it() {
    // A process in the same network namespace as this test, which is the machine's.
    let own = std::process::id().to_string();
    let ended = run(&mut hoplab(&["trace", "--pid", &own]));
    ended.failed_with(
        2,
        &["is in the machine's own network namespace", "add --host"],
    );
}

/// In a container, process 1 and its network are the container's: a machine in small.
#[rstest]
#[case::without_the_flag(&[], 2, "process 1 is in the machine's own network namespace")]
#[case::with_the_flag(&["--host"], 0, "of process 1, which has no rules")]
fn the_flag_for_the_machine_is_what_it_takes(
    #[case] flag: &[&str],
    #[case] code: i32,
    #[case] said: &str,
) {
    let mut command = Command::new("unshare");
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-root-user", "unshare"]);
    }
    command.args(["--net", "--pid", "--fork", "--mount-proc", "sh", "-c"]);
    // The shell is process 1, and stays.
    command.args(["\"$@\"; exit $?", "sh", HOPLAB, "trace", "--pid", "1"]);
    let ended = run(command.args(["--for", "100ms"]).args(flag));
    ended.failed_with(code, &[said]);
}

#[rstest]
fn a_process_that_is_not_there_is_an_input_error() {
    // Above the largest id the kernel gives (PID_MAX_LIMIT).
    let ended = run(&mut hoplab(&["trace", "--pid", "4194305"]));
    ended.failed_with(2, &["there is no process 4194305"]);
}

#[rstest]
fn a_process_that_has_ended_is_in_no_namespace() {
    let mut child = Command::new("true").spawn().expect("true starts");
    let pid = child.id();
    super::command::wait_for("its end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") Z ").then_some(())
    });
    let ended = run(&mut hoplab(&["trace", "--pid", &pid.to_string()]));
    child.wait().expect("it has ended");
    ended.failed_with(2, &["has ended, and is in no namespace any more"]);
}

#[rstest]
fn a_rule_that_nobody_can_match_is_named_and_nothing_is_left(
    #[values("NO_SUCH_CHAIN", "NO_SUCH_CHAIN:1", "--to-ports 9")] rule: &str,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let ended = run(&mut pod.command(&["--rule", rule]));
        ended.failed_with(2, &[&format!("no chain there is called `{rule}`")]);
        assert_eq!(pod.tables(), Vec::<String>::new());
    });
}

#[rstest]
fn a_second_trace_of_legacy_rules_is_refused_and_names_the_first() {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Legacy, Family::V4);
        let first = pod.trace(&[]);
        let ended = run(&mut pod.command(&[]));
        let by = format!(
            "nflog group 0 of this namespace is read by hoplab, process {}",
            first.pid()
        );
        ended.failed_with(4, &[&by, "one program can read"]);
        assert_eq!(pod.tables().len(), 1);
        super::ends::interrupted(first).failed_with(0, &[]);
    });
}

#[rstest]
fn a_process_of_another_user_is_out_of_reach_and_says_why() {
    let scratch = Scratch::new();
    let binary = scratch.path().join("hoplab");
    fs::copy(HOPLAB, &binary).expect("it is copied");
    for path in [scratch.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let mut command = Command::new(&binary);
    if Uid::effective().is_root() {
        command.uid(65534).gid(65534);
    }
    let ended = run(command.args(["trace", "--pid", "1"]));
    ended.failed_with(
        3,
        &[
            "could not look at the network namespace of process 1",
            "CAP_SYS_PTRACE: run as root",
        ],
    );
}
