//! Every way a trace ends: the observers are gone, and the exit code says what it is worth.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Stdio,
};

use hoplab::{netfilter::Backend, rules::Family};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use super::{
    APP, Pod,
    command::{Ended, Running, wait_for},
    sandbox::{in_sandbox, loopback},
};

fn signalled(running: Running, signal: Signal) -> Ended {
    kill(Pid::from_raw(running.pid()), signal).expect("it runs");
    running.ended()
}

/// Ends a trace with Ctrl-C; what was observed before is shown.
pub fn interrupted(running: Running) -> Ended {
    signalled(running, Signal::SIGINT)
}

const NONE: [&str; 0] = [];

#[rstest]
#[case::ctrl_c(Signal::SIGINT, &[], 0)]
#[case::a_request_to_end(Signal::SIGTERM, &[], 0)]
#[case::ctrl_c_before_the_count(Signal::SIGINT, &["--count", "1"], 130)]
#[case::a_request_to_end_before_the_time(Signal::SIGTERM, &["--for", "1h"], 143)]
fn a_signal_ends_it_and_leaves_nothing(
    #[case] signal: Signal,
    #[case] args: &[&str],
    #[case] code: i32,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let running = pod.trace(args);
        assert_eq!(pod.tables().len(), 1);
        let ended = signalled(running, signal);
        ended.failed_with(code, &[]);
        assert_eq!(pod.tables(), NONE);
    });
}

#[rstest]
fn after_sigkill_the_kernel_has_removed_the_observers(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let running = pod.trace(&[]);
        assert_eq!(pod.tables().len(), 1);
        signalled(running, Signal::SIGKILL);
        assert_eq!(pod.tables(), NONE);
    });
}

#[rstest]
fn it_ends_with_the_process_and_says_so() {
    in_sandbox(|| {
        let mut pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let running = pod.trace(&[]);
        drop(pod.process.stdin.take());
        pod.process.wait().expect("it ends");
        let ended = running.ended();
        ended.failed_with(0, &["has ended"]);
        assert_eq!(pod.tables(), NONE);
    });
}

#[rstest]
#[case::enough(1, 0)]
#[case::too_few(2, 5)]
fn the_count_is_reached_in_time_or_it_is_incomplete(#[case] count: u32, #[case] code: i32) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let _proxy = pod.listens(15006);
        let running = pod.trace(&["--count", &count.to_string(), "--for", "3s"]);
        let _client = pod.client_connects(9080);
        let ended = running.ended();
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
        let said = ended
            .stderr
            .contains("incomplete: 1 connections seen, of 2");
        assert_eq!(said, code == 5, "{}", ended.stderr);
    });
}

#[rstest]
#[case::touched_nothing("*nat\nCOMMIT\n", 0)]
#[case::changed("*nat\n-I ISTIO_INBOUND 1 -p tcp --dport 9 -j RETURN\nCOMMIT\n", 5)]
fn legacy_rules_that_changed_meanwhile_make_it_incomplete(#[case] rules: &str, #[case] code: i32) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Legacy, Family::V4);
        let running = pod.trace(&[]);
        pod.pair.apply(rules);
        let ended = interrupted(running);
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
        let said = ended.stderr.contains("rules of legacy iptables changed");
        assert_eq!(said, code == 5, "{}", ended.stderr);
    });
}

#[rstest]
fn a_reader_that_has_seen_enough_ends_it() {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let mut command = pod.command(&["--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        stdout.read_line(&mut first).expect("the start");
        assert!(first.contains("\"start\""), "{first}");
        // No packet comes that it could fail to write.
        drop(stdout);
        let status = wait_for("its end", || child.try_wait().expect("it is a child"));
        assert_eq!(status.code(), Some(0));
        assert_eq!(pod.tables(), NONE);
    });
}

#[rstest]
fn lost_reports_are_said_and_are_the_exit_code(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let running = pod.trace(&["--all-packets", "--json"]);
        let stopped = Pid::from_raw(running.pid());
        kill(stopped, Signal::SIGSTOP).expect("it runs");
        let to = SocketAddr::new(loopback(Family::V4), 9);
        let socket = pod.datagrams(APP, SocketAddr::new(loopback(Family::V4), 0));
        for _ in 0..20_000 {
            // The answer "nobody listens" is the next call's error.
            let _ = socket.send_to(b"much", to);
        }
        kill(stopped, Signal::SIGCONT).expect("it is there");
        let ended = interrupted(running);
        ended.failed_with(5, &["incomplete: "]);
        let end = ended.stdout.lines().last().unwrap_or_default();
        let end: serde_json::Value = serde_json::from_str(end).expect("a value");
        assert!(end["lost"]["messages"].as_u64() > Some(0), "{end}");
    });
}
