//! The DNS proxy in a real pod: who answers whom, and what it does when rules lead its own queries back to it.

use std::{net::SocketAddr, process::Command};

use hoplab::{
    Expect, GivenRules,
    evidence::Window,
    judge::{Verdict, judge},
};
use hoplab_proxies::{
    record::{CloseOutcome, Event, OriginalDst, Record, Role, Transport},
    wire::CallOutcome,
};
use hoplab_scenarios::{Family, Lab, LabFile, Options, outer_pid, up};
use rstest::rstest;

const LAB: &str = r#"
name = "dns"

[network]
bridge = "br0"
ipv4 = "10.77.0.0/24"
ipv6 = "fd77::/64"
node_ipv4 = "10.77.0.1"
node_ipv6 = "fd77::1"

[rules]
profile = "istio-1.13"

[dns]
ipv4 = "10.96.0.10"
ipv6 = "fd96::a"
[dns.hosts."example.org"]
ipv4 = "192.0.2.10"
ipv6 = "2001:db8::10"

[[service]]
name = "shop"
port = 9080
ipv4 = "10.96.0.11"
ipv6 = "fd96::11"
endpoints = ["shop-v1"]

[[pod]]
name = "shop-v1"
ipv4 = "10.77.0.11"
ipv6 = "fd77::11"
sidecar = true
app = { port = 9080 }
"#;

/// A lookup of the app.
fn flow(name: &str, over: &str) -> String {
    format!(
        "[[flow]]\nname = \"lookup\"\nabout = \"a name\"\nfrom = \"shop-v1/app\"\nto = \"dns\"\n\
         lookup = \"{name}\"\nover = \"{over}\"\n"
    )
}

/// The lab with one lookup of the app, under REDIRECTs of port 53; `spare` is a match of what they leave alone.
fn lookup(name: &str, transport: Transport, family: Family, spare: Option<&str>) -> Window {
    let over = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    let file = LabFile::parse(&format!("{LAB}\n{}", flow(name, over)), "dns.toml").expect("a lab");
    let spare = spare.map_or(String::new(), |spare| {
        format!("-A OUTPUT {spare} -j RETURN\n")
    });
    let rules = format!(
        "*nat\n{spare}\
         -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053\n\
         -A OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 15053\nCOMMIT\n"
    );
    let given = GivenRules::read(&rules, "port 53", family).expect("rules");
    let options = Options {
        families: family.into(),
        ..Options::default()
    };
    let mut lab = up(file.with_rules(given, Expect::Rules), options);
    lab.drive("lookup").expect("the flow runs")
}

fn of(window: &Window, role: Role) -> impl Iterator<Item = &Record> {
    window.records.iter().filter(move |it| it.role == role)
}

/// Listener, peer and original destination of every query a process accepted.
fn accepted(window: &Window, role: Role) -> Vec<(SocketAddr, SocketAddr, OriginalDst)> {
    let accept = |record: &Record| match &record.event {
        Event::Accept {
            listener,
            peer,
            original_dst,
            ..
        } => Some((*listener, *peer, original_dst.clone())),
        _ => None,
    };
    of(window, role).filter_map(accept).collect()
}

fn outcomes(window: &Window, role: Role) -> Vec<CloseOutcome> {
    let close = |record: &Record| match &record.event {
        Event::Close { outcome, .. } => Some(outcome.clone()),
        _ => None,
    };
    of(window, role).filter_map(close).collect()
}

const PROXY: &str = "-m owner --uid-owner 1337";

#[rstest]
fn a_redirected_query_for_another_name_reaches_the_clusters_server_through_the_proxy(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let window = lookup("example.org", transport, family, Some(PROXY));
    let (answer, at) = match family {
        Family::V4 => ("192.0.2.10", "127.0.0.1:15053"),
        Family::V6 => ("2001:db8::10", "[::1]:15053"),
    };
    let addresses = vec![answer.parse().expect("literal")];
    assert_eq!(window.outcome, CallOutcome::Resolved(addresses));
    let proxy = accepted(&window, Role::Proxy);
    let [(listener, _, original)] = proxy.as_slice() else {
        panic!("one query, and it was {proxy:?}")
    };
    assert_eq!(*listener, at.parse().expect("literal"));
    // The kernel tells where a datagram was going to nobody.
    let wanted = match transport {
        Transport::Tcp => OriginalDst::Known(window.to),
        Transport::Udp => OriginalDst::None("the kernel tells it of TCP and SCTP only".into()),
    };
    assert_eq!(*original, wanted);
    let cluster = accepted(&window, Role::Dns);
    let [(listener, ..)] = cluster.as_slice() else {
        panic!("one query, and it was {cluster:?}")
    };
    assert_eq!(*listener, window.to);
}

#[rstest]
fn a_query_of_the_proxy_that_rules_lead_back_to_it_is_refused_at_its_second_arrival(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let window = lookup("example.org", transport, family, None);
    let proxy = accepted(&window, Role::Proxy);
    let [_, (_, itself, _)] = proxy.as_slice() else {
        panic!("a client's query and its own, and it was {proxy:?}")
    };
    let evidence =
        format!("peer {itself} is this proxy's own open dns upstream, back at its dns listener");
    let refused = CloseOutcome::LoopRefused(evidence);
    let outcomes = outcomes(&window, Role::Proxy);
    assert_eq!(
        outcomes.iter().filter(|it| **it == refused).count(),
        1,
        "{outcomes:?}"
    );
    // What the proxy told itself is what the client hears.
    assert_eq!(window.outcome, CallOutcome::Unresolved("REFUSED".into()));
    assert_eq!(accepted(&window, Role::Dns), []);
}

/// Two source ports for ten queries: were the first ones' conntrack entries still there, nat would not be asked again.
#[rstest]
fn a_lookup_from_a_port_used_before_is_a_connection_of_its_own(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let file =
        LabFile::parse(&format!("{LAB}\n{}", flow("shop", "udp")), "dns.toml").expect("a lab");
    let text = "*nat\n-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053\nCOMMIT\n";
    let given = GivenRules::read(text, "port 53", family).expect("rules");
    let file = file.with_rules(given, Expect::Rules);
    let options = Options {
        families: family.into(),
        ..Options::default()
    };
    let mut lab = up(file.clone(), options);
    two_source_ports(&lab);
    for _ in 0..10 {
        lab.drive("lookup").expect("the flow runs");
    }
    let judgement = judge(&file, &lab.observed().expect("observed")).expect("judged");
    assert_eq!(judgement.verdict, Verdict::Holds, "{judgement:#?}");
}

fn two_source_ports(lab: &Lab) {
    let pod = lab.came_up().pods.iter().find(|pod| pod.name == "shop-v1");
    let app = pod.and_then(|pod| pod.processes.iter().find(|it| it.role == Role::App));
    let pid = outer_pid(lab, app.expect("an app").pid).to_string();
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &pid, "--net"]);
    if !lab.machine().root {
        enter.args(["--user", "--preserve-credentials"]);
    }
    let set = "echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range";
    let status = enter
        .args(["sh", "-c", set])
        .status()
        .expect("nsenter runs");
    assert!(status.success(), "{status}");
}
