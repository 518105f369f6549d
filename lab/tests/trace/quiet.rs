//! Observers leave rules, counters and the namespace as they are, and leave nothing when they go.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use hoplab::{
    net::ProcessNamespace,
    netfilter::Backend,
    rules::{Family, RuleSet, Table},
    trace::{NamespaceTrace, Selection, TraceError, TraceWatch, observer_tables},
};
use rstest::rstest;

use super::{APP, PROXY, Pair, sandbox::in_sandbox, stopped};

/// Runs one connection of each kind, and returns the rules with their counters.
fn rules_after_traffic(backend: Backend, family: Family, traced: bool) -> RuleSet {
    let pair = Pair::with_sidecar(backend, family, "");
    let _inbound = pair.listens(15006);
    let _outbound = pair.listens_at_lo(15001);
    let _other = pair.client_listens(9080);
    let watch = traced.then(|| pair.watch(Selection::default()));
    let _client = pair.client_connects(9080);
    let to = pair.client_at(9080);
    let _app = pair.pod_connects(APP, to).expect("the proxy listens");
    let _proxy = pair.pod_connects(PROXY, to).expect("somebody listens");
    let rules = pair.saved();
    if let Some(watch) = watch {
        assert_eq!(stopped(watch).len(), 6);
    }
    rules
}

#[rstest]
fn rules_their_places_and_their_counters_are_the_same_with_and_without_observers(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let with = rules_after_traffic(backend, family, true);
        let without = rules_after_traffic(backend, family, false);
        let rules = |set: &RuleSet| -> Vec<_> {
            let rules = set.rules(Table::Nat);
            rules.map(|(id, rule)| (id, rule.clone())).collect()
        };
        // Policies are left out: multicast reports move them.
        assert_eq!(rules(&with), rules(&without));
        let moved = rules(&with)
            .iter()
            .filter(|(_, rule)| rule.counters.is_some_and(|it| it.packets > 0))
            .count();
        assert_eq!(moved, 7, "the traffic moved rules");
        assert_eq!(
            with.tables.keys().collect::<Vec<_>>(),
            without.tables.keys().collect::<Vec<_>>()
        );
    });
}

fn loggers(pair: &Pair) -> Vec<String> {
    pair.in_pod(|_| {
        let read = |family| fs::read_to_string(format!("/proc/sys/net/netfilter/nf_log/{family}"));
        vec![read(2).expect("a sysctl"), read(10).expect("a sysctl")]
    })
}

fn tables(pair: &Pair) -> Vec<String> {
    pair.in_pod(|_| observer_tables().expect("netlink works"))
}

#[rstest]
fn a_dropped_watch_leaves_nothing(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let before = loggers(&pair);
        let watch = pair.watch(Selection::default());
        assert_eq!(tables(&pair), [watch.table()]);
        assert_eq!(before == loggers(&pair), backend == Backend::Nft);
        // On another thread, in another namespace.
        drop(watch);
        assert_eq!(tables(&pair), Vec::<String>::new());
        assert_eq!(before, loggers(&pair));
    });
}

/// Kills the process that holds observers in the pod, and returns what is left.
#[rstest]
fn the_kernel_removes_the_observers_of_a_killed_process(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let mut holder = pair.in_pod(|_| {
            Command::new(std::env::current_exe().expect("it has a path"))
                .args(["--exact", "quiet::holds_observers_until_it_is_killed"])
                .args(["--ignored", "--nocapture"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this binary")
        });
        let said = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
        let held = said
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("holding ")?.1.to_owned()));
        assert_eq!(tables(&pair), [held.expect("it has opened a watch")]);
        holder.kill().expect("SIGKILL");
        holder.wait().expect("it is dead");
        assert_eq!(tables(&pair), Vec::<String>::new());
    });
}

#[test]
#[ignore = "a child process of another test"]
fn holds_observers_until_it_is_killed() {
    let watch = TraceWatch::open(hoplab::trace::Options::default()).expect("observers");
    println!("holding {}", watch.table());
    // The end of the input never comes.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[rstest]
fn a_panic_leaves_nothing(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let before = loggers(&pair);
        // A thread's number names the namespace it is in as well as a process's does.
        let thread = pair.in_pod(|_| nix::unistd::gettid().as_raw());
        let thread = u32::try_from(thread).expect("it is positive");
        let (opened, is_open) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let namespace = ProcessNamespace::open(thread).expect("the pod");
            let trace = NamespaceTrace::open(namespace, Selection::default()).expect("observers");
            opened
                .send(trace.table().to_owned())
                .expect("the test waits");
            let _ = wait.recv();
            panic!("on purpose, with {}", trace.table());
        });
        let table = is_open.recv().expect("it is open");
        assert_eq!(tables(&pair), [table]);
        drop(go);
        holder.join().expect_err("it panics");
        assert_eq!(tables(&pair), Vec::<String>::new());
        assert_eq!(before, loggers(&pair));
    });
}

#[rstest]
fn two_watches_of_one_namespace_both_see_everything_and_not_each_other() {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(Backend::Nft, Family::V4, "");
        let _proxy = pair.listens(15006);
        let [one, two] = [0, 1].map(|_| pair.watch(Selection::default()));
        assert_eq!(tables(&pair).len(), 2);
        let _client = pair.client_connects(9080);
        let two = stopped(two);
        let one = stopped(one);
        for packets in [&one, &two] {
            assert_eq!(packets.len(), 2);
            assert_eq!(packets[0].rules().count(), 3);
        }
        let observers = |it: &[hoplab::trace::TracedPacket]| it[0].stations.len();
        assert_eq!((observers(&one), observers(&two)), (5, 5));
    });
}

#[rstest]
fn a_second_reader_of_the_lines_of_ip_tables_is_refused_and_leaves_nothing() {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(Backend::Legacy, Family::V4, "");
        let first = pair.watch(Selection::default());
        let options = pair.options(Selection::default());
        let second = pair.in_pod(move |_| TraceWatch::open(options).err());
        assert!(
            matches!(
                second,
                Some(TraceError::GroupTaken {
                    group: 0,
                    by: Some(_)
                })
            ),
            "{second:?}"
        );
        assert_eq!(tables(&pair), [first.table()]);
    });
}
