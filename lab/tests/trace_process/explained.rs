//! `hoplab explain --pid`: a connection in a namespace that is not a lab's, by its rules and counters, and traced.

use std::{net::SocketAddr, process::Command};

use hoplab::{netfilter::Backend, rules::Family};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

use super::{
    APP, HOPLAB, PROXY, Pod,
    command::{Ended, Running, hoplab, run, wait_for},
    sandbox::{in_sandbox, loopback},
};

/// An explanation in the pod's namespace.
fn command(pod: &Pod, words: &[&str]) -> Command {
    let mut command = Command::new(HOPLAB);
    command.args(["explain", "--pid", &pod.pid()]).args(words);
    command.env("NO_COLOR", "1");
    command
}

/// One that waits for a connection; once this returns, the observers are there.
fn waiting(pod: &Pod, words: &[&str]) -> Running {
    let mut running = Running::start(&mut command(pod, &[&["--trace"], words].concat()));
    running.says("waiting for a connection");
    running
}

#[track_caller]
fn value(ended: &Ended) -> Value {
    ended.failed_with(0, &[]);
    serde_json::from_str(&ended.stdout).expect("one value")
}

/// Chain and place of each rule that matched, and who saw each.
fn matched(path: &Value) -> Vec<(String, Vec<String>)> {
    let hops = path["legs"][0]["there"][0]["hops"].as_array();
    let rules = hops
        .into_iter()
        .flatten()
        .filter(|hop| hop["event"] == "rule");
    let of = |hop: &Value| {
        let who = hop["witnesses"].as_array().into_iter().flatten();
        let who = who.filter_map(Value::as_str).map(str::to_owned);
        let chain = hop["chain"].as_str().expect("a chain");
        (format!("{chain} {}", hop["ordinal"]), who.collect())
    };
    rules.map(of).collect()
}

const INBOUND: [&str; 3] = ["PREROUTING 1", "ISTIO_INBOUND 5", "ISTIO_IN_REDIRECT 1"];

#[rstest]
fn without_a_trace_rules_and_counters_tell_the_way_and_nothing_is_put_there(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, family);
        let _proxy = pod.listens(15006);
        let _client = pod.client_connects(9080);
        let before = pod.pair.saved();
        let (caller, to) = (
            pod.pair.client_at(0).ip().to_string(),
            pod.pair.pod_at(9080).to_string(),
        );
        let path = value(&run(&mut command(&pod, &[&caller, &to, "--json"])));
        let by_model = |rule: &str| (rule.to_owned(), vec!["model".to_owned()]);
        assert_eq!(matched(&path), INBOUND.map(by_model));
        let holder = match backend {
            Backend::Nft => "iptables-nft",
            Backend::Legacy => "iptables-legacy",
        };
        let answer = format!("as the rules of {holder} say; nothing was sent");
        assert_eq!(path["answer"], answer);
        // The one connection there was stands in the counters, and this made none.
        let hops = path["legs"][0]["there"][0]["hops"]
            .as_array()
            .expect("hops");
        let counted = hops
            .iter()
            .filter(|hop| hop["event"] == "rule")
            .map(|hop| &hop["counted"]);
        assert!(
            counted.clone().all(|it| *it == 1),
            "{:?}",
            counted.collect::<Vec<_>>()
        );
        assert_eq!(pod.pair.saved(), before);
        assert_eq!(pod.tables(), Vec::<String>::new());
        // A process of the pod, by its user.
        let to = pod.pair.client_at(9080).to_string();
        let owner = format!("{PROXY}:{PROXY}");
        let text = run(&mut command(&pod, &[&owner, &to]));
        text.failed_with(0, &[]);
        assert!(
            text.stdout
                .contains("✔  4 -m owner --uid-owner 1337 -j RETURN"),
            "{}",
            text.stdout
        );
        assert!(
            text.stdout.contains("· 0 packets so far"),
            "{}",
            text.stdout
        );
    });
}

#[rstest]
fn with_a_trace_the_next_such_connection_is_shown_and_the_observers_are_gone(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, family);
        let _proxies = [pod.listens(15006), pod.listens_at_lo(15001)];
        let (caller, to) = (
            pod.pair.client_at(0).ip().to_string(),
            pod.pair.pod_at(9080).to_string(),
        );
        let running = waiting(&pod, &[&caller, &to, "--json"]);
        assert_eq!(pod.tables().len(), 1);
        // Not the one that is meant, then the one that is.
        let _other = pod.client_connects(9081);
        let _client = pod.client_connects(9080);
        let path = value(&running.ended());
        assert_eq!(pod.tables(), Vec::<String>::new());
        let seen = |rule: &str| {
            (
                rule.to_owned(),
                ["trace", "model"].map(str::to_owned).to_vec(),
            )
        };
        assert_eq!(matched(&path), INBOUND.map(seen));
        assert_eq!(
            (&path["to"], &path["answer"]),
            (&to.into(), &"traced, with its answer".into())
        );
        let back = path["legs"][0]["back"][0]["hops"]
            .as_array()
            .expect("the answer");
        let turned = &back.last().expect("a hop")["changes"][0];
        assert_eq!(turned["after"], pod.pair.pod_at(9080).to_string());
        // Of two users that call the same, the one that is meant.
        let to = pod.pair.client_at(9080).to_string();
        let running = waiting(&pod, &["1000:1000", &to, "--json"]);
        let _proxy = pod.connects(PROXY, 9080);
        let _app = pod.connects(APP, 9080);
        let path = value(&running.ended());
        assert_eq!(path["legs"][0]["opener"]["uid"], APP);
        let way: Vec<String> = matched(&path).into_iter().map(|it| it.0).collect();
        assert_eq!(way, ["OUTPUT 1", "ISTIO_OUTPUT 9", "ISTIO_REDIRECT 1"]);
    });
}

#[rstest]
fn a_dropped_packet_is_a_way_that_ends_at_the_rule(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        pod.pair
            .apply("*filter\n-A INPUT -p tcp -m tcp --dport 15006 -j DROP\nCOMMIT\n");
        let running = waiting(&pod, &["--port", "9080"]);
        let to = pod.pair.pod_at(9080);
        let _calling = pod.pair.in_client(move |_| {
            use nix::sys::socket::{
                AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket,
            };
            let call = socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::SOCK_NONBLOCK,
                None,
            );
            let call = call.expect("a socket");
            let std::net::SocketAddr::V4(to) = to else {
                unreachable!()
            };
            let begun = connect(
                std::os::fd::AsRawFd::as_raw_fd(&call),
                &SockaddrIn::from(to),
            );
            assert_eq!(begun, Err(nix::errno::Errno::EINPROGRESS));
            call
        });
        let ended = running.ended();
        ended.failed_with(0, &[]);
        let last = ended.stdout.lines().rfind(|it| it.contains('✔'));
        assert!(
            last.is_some_and(
                |it| it.contains("filter INPUT") && it.contains("--dport 15006 -j DROP")
            ),
            "{}",
            ended.stdout
        );
        assert!(
            ended.stdout.contains("no answer was seen"),
            "{}",
            ended.stdout
        );
    });
}

#[rstest]
fn rules_of_native_nft_are_explained_once_they_are_traced() {
    in_sandbox(|| {
        let pod = Pod::new(Backend::Nft, Family::V4);
        super::shown::native(&pod);
        let _proxy = pod.listens(15006);
        let running = waiting(&pod, &["--port", "9080"]);
        let _client = pod.client_connects(9080);
        let ended = running.ended();
        ended.failed_with(0, &[]);
        for wanted in [
            "nat istio-inbound      ✗  1",
            "-p tcp -j REDIRECT --to-ports 15006",
        ] {
            assert!(ended.stdout.contains(wanted), "{}", ended.stdout);
        }
        assert_eq!(pod.tables(), Vec::<String>::new());
    });
}

/// Captured DNS, in short.
const DNS: &str = "*nat
-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053
COMMIT
";

#[rstest]
fn a_datagram_is_explained_as_one_by_the_rules_and_by_its_trace(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::new(backend, family);
        pod.pair.apply(DNS);
        let server = pod.pair.client_at(53);
        let to = server.to_string();
        for (owner, rule) in [("1000:1000", "OUTPUT 2"), ("1337:1337", "OUTPUT 1")] {
            let path = value(&run(&mut command(&pod, &[owner, &to, "--udp", "--json"])));
            let rules: Vec<String> = matched(&path).into_iter().map(|it| it.0).collect();
            assert_eq!(
                (rules, &path["legs"][0]["transport"]),
                (vec![rule.to_owned()], &"udp".into())
            );
        }
        // Over TCP the same port is nobody's business.
        let path = value(&run(&mut command(&pod, &["1000:1000", &to, "--json"])));
        assert_eq!(matched(&path), []);
        let proxy = pod.datagrams(PROXY, SocketAddr::new(loopback(family), 15053));
        let any = SocketAddr::new(pod.pair.pod_at(0).ip(), 0);
        let app = pod.datagrams(APP, any);
        let running = waiting(&pod, &["1000:1000", &to, "--udp", "--json"]);
        app.send_to(b"query", server).expect("it is sent");
        let mut buffer = [0; 16];
        let (_, from) = proxy.recv_from(&mut buffer).expect("it is redirected");
        proxy.send_to(b"answer", from).expect("it is sent");
        let path = value(&running.ended());
        let leg = &path["legs"][0];
        assert_eq!(
            (&leg["transport"], &leg["opener"]["uid"]),
            (&"udp".into(), &APP.into())
        );
        let seen = ["trace", "model"].map(str::to_owned).to_vec();
        assert_eq!(matched(&path), [("OUTPUT 2".to_owned(), seen)]);
    });
}

/// The table goes with its socket, and so with the process, whatever it dies of.
#[rstest]
#[case::ctrl_c(Signal::SIGINT)]
#[case::a_kill(Signal::SIGKILL)]
fn one_that_is_ended_while_it_waits_leaves_nothing(
    #[case] signal: Signal,
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let running = waiting(&pod, &[]);
        assert_eq!(pod.tables().len(), 1);
        kill(Pid::from_raw(running.pid()), signal).expect("it runs");
        let status = running.ended().status;
        let expected = match signal {
            Signal::SIGKILL => None,
            other => Some(128 + other as i32),
        };
        assert_eq!(status.code(), expected, "{status}");
        let gone = || pod.tables().is_empty().then_some(());
        wait_for("the end of its table", gone);
    });
}

#[rstest]
fn nothing_in_time_is_said_and_nothing_is_left() {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let ended = run(&mut command(&pod, &["--trace", "--for", "50ms"]));
        ended.failed_with(5, &["no such connection came in time"]);
        assert_eq!(pod.tables(), Vec::<String>::new());
    });
}

#[rstest]
#[case::no_connection(&[], "<FLOW>")]
#[case::a_name(&["bookinfo"], "`bookinfo` is no connection of a process")]
#[case::a_service(&["1000:1000", "reviews:9080"], "`reviews:9080` is no address with a port")]
#[case::a_sender(&["reviews", "10.99.0.1:80"], "`reviews` sends nothing here")]
#[case::other_rules(&["1000:1000", "10.99.0.1:80", "--istio", "1.32"], "--pid does not go with flags for rules")]
#[case::a_family(&["1000:1000", "10.99.0.1:80", "--family", "ipv6"], "--pid does not go with flags for rules")]
#[case::a_deadline(&["1000:1000", "10.99.0.1:80", "--deadline", "10"], "cannot be used with")]
fn words_that_name_no_connection_are_refused(#[case] words: &[&str], #[case] said: &str) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        run(&mut command(&pod, words)).failed_with(2, &[said]);
    });
}

#[rstest]
fn the_machines_own_namespace_is_refused_with_and_without_a_trace(
    #[values(&[][..], &["--trace"])] flags: &[&str],
) {
    // A process in the same network namespace as this test, which is the machine's.
    let own = std::process::id().to_string();
    let words = ["explain", "--pid", &own, "1000:1000", "192.0.2.1:80"];
    let ended = run(&mut hoplab(&[&words, flags].concat()));
    ended.failed_with(
        2,
        &["is in the machine's own network namespace", "add --host"],
    );
}
