//! A source port that nat had to change: two calls from one port, both redirected to the same place.

use hoplab::{
    judge::{self, Verdict},
    path,
    report::golden,
};
use rstest::rstest;
use serde_json::Value;

use super::{
    command::{SMALL, runtime::Runtime},
    hops, is_sound, value, witnesses,
};

/// The other ports are nobody's: the proxy takes the call, and has nobody to hand it to.
const CALLS: &str = r#"
[[flow]]
name = "other-port"
about = "a second connection to the pod"
from = "caller"
to = "called:9081"
answer = "closed"
nat.called = ["PREROUTING 1 > ISTIO_INBOUND 5 > ISTIO_IN_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 1"]

[[flow]]
name = "out"
about = "the app calls out"
from = "called"
to = "caller:9080"
nat.called = ["OUTPUT 1 > ISTIO_OUTPUT 9 > ISTIO_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 4"]

[[flow]]
name = "out-again"
about = "and again"
from = "called"
to = "caller:9081"
answer = "closed"
nat.called = ["OUTPUT 1 > ISTIO_OUTPUT 9 > ISTIO_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 4"]

[[flow]]
name = "out-once-more"
about = "and once more"
from = "called"
to = "caller:9082"
answer = "closed"
nat.called = ["OUTPUT 1 > ISTIO_OUTPUT 9 > ISTIO_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 4"]
"#;

/// The small lab, up, with these ports only for who calls from a pod.
fn with_ports(pod: &str, ports: &str, backend: &str, family: &str) -> Runtime {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", &format!("{SMALL}{CALLS}"));
    runtime.output(&["up", &file, "--backend", backend, "--family", family]);
    let set = format!("echo {ports} > /proc/sys/net/ipv4/ip_local_port_range");
    runtime.output(&["exec", pod, "--as", "root", "--", "sh", "-c", &set]);
    runtime
}

/// The change of a source port, each way, with its hook and who saw it.
fn changed_port<'a>(path: &'a Value, way: &str, field: &str) -> Option<(&'a Value, Vec<&'a str>)> {
    let source = &path["legs"][0]["source"]["port"].to_string();
    let hop = hops(path, way).into_iter().find(|hop| {
        let change = &hop["changes"][0];
        let before = change["before"].as_str().unwrap_or_default();
        let after = change["after"].as_str().unwrap_or_default();
        let own = |it: &str| it.ends_with(&format!(":{source}"));
        change["field"] == field && (own(before) || own(after))
    });
    hop.map(|hop| (&hop["hook"], witnesses(hop)))
}

#[rstest]
fn a_caller_whose_port_is_taken_gets_another_one_and_the_answer_finds_back(
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &str,
) {
    let runtime = with_ports("caller", "41000 41000", backend, family);
    let explain = |to: &str| value(&runtime.done(&["explain", "caller", to, "--json"]));
    let first = explain("called:9080");
    is_sound(&first);
    assert_eq!(first["answer"], "200");
    assert_eq!(changed_port(&first, "there", "source"), None);
    // Another port of the pod, and so another connection; behind nat both come from port 41000 to 15006.
    let second = explain("called:9081");
    is_sound(&second);
    assert_eq!(second["legs"][0]["source"]["port"], 41000);
    let there = changed_port(&second, "there", "source");
    assert_eq!(
        there,
        Some((&"input".into(), vec!["trace", "conntrack", "log"]))
    );
    let back = changed_port(&second, "back", "destination");
    assert_eq!(back, Some((&"output".into(), vec!["trace", "conntrack"])));
    let shown = runtime.output(&["explain", "caller", "called:9082"]);
    assert!(
        shown.contains(": another connection has the port"),
        "{shown}"
    );
    runtime.down("small");
}

#[rstest]
fn an_app_whose_port_is_taken_gets_another_one_on_its_way_to_its_proxy(
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &str,
) {
    // The app takes one of two ports, its proxy the other: the third call at the latest has one of an earlier call's.
    let runtime = with_ports("called", "41000 41001", backend, family);
    let calls = [9080, 9081, 9082].map(|port| {
        let path =
            value(&runtime.done(&["explain", "called", &format!("caller:{port}"), "--json"]));
        is_sound(&path);
        path
    });
    let turned = calls
        .iter()
        .filter_map(|path| changed_port(path, "there", "source"));
    let turned: Vec<_> = turned.collect();
    let (hook, who) = turned.first().expect("three calls from two ports");
    assert_eq!(
        (*hook, &who[..]),
        (&"postrouting".into(), &["trace", "conntrack", "log"][..])
    );
    runtime.down("small");
}

#[rstest]
#[case::inbound("caller", "41000 41000", &["call", "other-port"])]
#[case::outbound("called", "41000 41001", &["out", "out-again", "out-once-more"])]
fn flows_with_a_changed_port_hold(
    #[case] pod: &str,
    #[case] ports: &str,
    #[case] flows: &[&str],
    #[values("nft", "legacy")] backend: &str,
    #[values("ipv4", "ipv6")] family: &str,
) {
    let runtime = with_ports(pod, ports, backend, family);
    let mut lab = runtime.find("small").attach().expect("it is up");
    for flow in flows {
        lab.drive(flow).expect("it is sent");
    }
    let evidence = lab.observed().expect("counters are there");
    let mut changed = 0;
    for window in &evidence.windows {
        let flow = lab.file().topology.flow(&window.flow).expect("it was sent");
        let path = path::of_window(lab.file(), &evidence, window, flow).expect("of this lab");
        // What is chance is in no golden text.
        let text = golden(&path);
        for entry in &window.conntrack["called"] {
            let (own, given) = (entry.original.src.port(), entry.reply.dst.port());
            changed += usize::from(own != given);
            assert!(!text.contains(&format!(":{given}")), "{given}\n{text}");
        }
    }
    assert!(changed > 0, "no port was changed");
    let judgement = judge::judge(lab.file(), &evidence).expect("of this lab");
    assert_eq!(judgement.verdict, Verdict::Holds, "{:#?}", judgement.flows);
    drop(lab);
    runtime.down("small");
}
