//! What is shown: the exact text of a block, JSON that reads back, and filters.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use hoplab::{netfilter::Backend, rules::Family, traced::TracedPacket};
use rstest::rstest;
use serde_json::Value;

use super::{
    APP, PROXY, Pod,
    command::Ended,
    sandbox::{in_sandbox, loopback},
};

/// A block without what differs from run to run: the port of the opener, and conntrack's number.
fn lasting(ended: &Ended, opener: SocketAddr) -> String {
    let port = format!(":{}", opener.port());
    let text = ended.stdout.replace(&port, ":OPENER");
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("  conntrack ") {
            Some(rest) => {
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("  conntrack N{rest}")
            }
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The same, with the addresses of the pair by name.
fn named(ended: &Ended, opener: SocketAddr, pod: &Pod) -> String {
    let at = |it: SocketAddr| it.to_string().trim_end_matches(":0").to_owned();
    let lo = at(SocketAddr::new(loopback(pod.pair.family), 0));
    let text = lasting(ended, opener);
    let text = text.replace(&at(pod.pair.pod_at(0)), "POD");
    text.replace(&at(pod.pair.client_at(0)), "CLIENT")
        .replace(&lo, "LO")
}

#[rstest]
fn an_inbound_connection_and_its_answer_are_one_block_with_the_text_of_each_rule(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, family);
        let _proxy = pod.listens(15006);
        let running = pod.trace(&["--count", "1"]);
        let client = pod.client_connects(9080);
        let ended = running.ended();
        ended.failed_with(0, &[]);
        let shown = named(&ended, client.local_addr().expect("an address"), &pod);
        let input = match backend {
            Backend::Nft => "    INPUT        no rule matched",
            Backend::Legacy => "    INPUT        nat INPUT policy                accept",
        };
        let wanted = format!(
            "\
#1 tcp CLIENT:OPENER → POD:9080
  → syn, in by eth0
    PREROUTING   nat PREROUTING 1                -p tcp -j ISTIO_INBOUND
                 nat ISTIO_INBOUND 5             -p tcp -j ISTIO_IN_REDIRECT
                 nat ISTIO_IN_REDIRECT 1         -p tcp -j REDIRECT --to-ports 15006
                   destination POD:9080 → POD:15006
{input}
  ← syn ack, out by eth0
    OUTPUT       no rule matched
    POSTROUTING  no rule matched
                   source POD:15006 → POD:9080
  conntrack N: CLIENT:OPENER → POD:9080, answered POD:15006 → CLIENT:OPENER"
        );
        assert_eq!(shown, wanted, "{}", ended.stderr);
        assert_eq!(pod.tables(), Vec::<String>::new());
    });
}

#[rstest]
fn what_an_app_sends_is_shown_with_its_user_and_over_lo(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, family);
        let _proxy = pod.listens_at_lo(15001);
        let running = pod.trace(&["--count", "1"]);
        let app = pod.connects(APP, 9080).expect("the proxy listens");
        let ended = running.ended();
        let shown = named(&ended, app.local_addr().expect("an address"), &pod);
        let wanted = "\
#1 tcp POD:OPENER → CLIENT:9080
  → syn, from uid 1000 gid 1000, over lo
    OUTPUT       nat OUTPUT 1                    -p tcp -j ISTIO_OUTPUT
                 nat ISTIO_OUTPUT 9              -j ISTIO_REDIRECT
                 nat ISTIO_REDIRECT 1            -p tcp -j REDIRECT --to-ports 15001
                   destination CLIENT:9080 → LO:15001";
        assert!(shown.starts_with(wanted), "{shown}\n{}", ended.stderr);
    });
}

const NATIVE: &str = "table inet istio-proxy-nat {
  chain prerouting { type nat hook prerouting priority dstnat; meta l4proto tcp counter jump istio-inbound; }
  chain istio-inbound { tcp dport { 15008, 15020 } return; meta l4proto tcp goto istio-in-redirect; }
  chain istio-in-redirect { meta l4proto tcp redirect to :15006; }
}
";

/// Applies rules as Istio's native nft mode has them.
pub fn native(pod: &Pod) {
    pod.pair.in_pod(|_| {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft");
        let mut stdin = nft.stdin.take().expect("it is piped");
        stdin.write_all(NATIVE.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(nft.wait().expect("it ends").success());
    });
}

#[rstest]
fn rules_of_native_nft_are_shown_in_the_words_of_nft(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::new(Backend::Nft, family);
        native(&pod);
        let _proxy = pod.listens(15006);
        let running = pod.trace(&["--count", "1", "--rule", "istio-inbound:2"]);
        let _client = pod.client_connects(9080);
        let ended = running.ended();
        let wanted = "    PREROUTING   \
inet istio-proxy-nat prerouting 1  meta l4proto tcp counter jump istio-inbound
                 inet istio-proxy-nat istio-inbound 2  meta l4proto tcp goto istio-in-redirect
                 inet istio-proxy-nat istio-in-redirect 1  meta l4proto tcp redirect to :15006\n";
        assert!(
            ended.stdout.contains(wanted),
            "{}\n{}",
            ended.stdout,
            ended.stderr
        );
    });
}

/// Istio's rules for DNS capture: a zone for the app's queries, another for the proxy's own.
const DNS: &str = "*raw
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
-A OUTPUT -p udp --dport 53 -j CT --zone 2
COMMIT
*nat
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053
COMMIT
";

#[rstest]
fn a_dns_query_over_udp_is_shown_with_the_zone_of_its_connection(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pod = Pod::new(backend, family);
        pod.pair.apply(DNS);
        let proxy = pod.datagrams(PROXY, SocketAddr::new(loopback(family), 15053));
        let any: IpAddr = match family {
            Family::V4 => "0.0.0.0".parse().expect("an address"),
            Family::V6 => "::".parse().expect("an address"),
        };
        let app = pod.datagrams(APP, SocketAddr::new(any, 0));
        let running = pod.trace(&["--count", "1", "--json"]);
        let mut buffer = [0; 64];
        let server = pod.pair.client_at(53);
        app.send_to(b"query", server).expect("it is sent");
        let (_, from) = proxy.recv_from(&mut buffer).expect("it is redirected");
        proxy.send_to(b"answer", from).expect("it is sent");
        app.recv_from(&mut buffer).expect("it is translated back");
        let lines = values(&running.ended());
        let entry = of_event(&lines, "conntrack");
        assert_eq!(entry[0]["entry"]["zone"], 2, "{lines:#?}");
        let packets = of_event(&lines, "packet");
        assert_eq!(packets.len(), 2, "{packets:#?}");
        for packet in packets {
            assert_eq!(packet["packet"]["conntrack"]["zone"], 2, "{packet:#}");
        }
    });
}

fn values(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("each line is a value"))
        .collect()
}

fn of_event<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|it| it["event"] == event).collect()
}

#[rstest]
fn json_lines_read_back_as_packets_and_carry_the_text_of_each_rule(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let _proxy = pod.listens(15006);
        let running = pod.trace(&["--count", "1", "--json"]);
        let _client = pod.client_connects(9080);
        let ended = running.ended();
        let lines = values(&ended);
        let events: Vec<&str> = lines.iter().filter_map(|it| it["event"].as_str()).collect();
        assert_eq!(
            events,
            ["start", "packet", "packet", "conntrack", "end"],
            "{}",
            ended.stderr
        );
        let start = &lines[0];
        assert_eq!(
            (&start["lines"], &start["pid"]),
            (&1.into(), &pod.process.id().into())
        );
        let holder = match backend {
            Backend::Nft => "iptables-nft",
            Backend::Legacy => "iptables-legacy",
        };
        assert_eq!(start["rules-of"], serde_json::json!([holder]));
        let syn = &lines[1];
        let packet: TracedPacket =
            serde_json::from_value(syn["packet"].clone()).expect("it reads back");
        assert_eq!(packet.rules().count(), 3);
        let input = packet.stations[0].input.expect("it came in").to_string();
        assert_eq!(syn["interfaces"][input], "eth0");
        let matched = |n: usize| &syn["rules"][n];
        assert_eq!(matched(2)["text"], "-p tcp -j REDIRECT --to-ports 15006");
        assert_eq!(matched(2)["chain"]["chain"], "ISTIO_IN_REDIRECT");
        assert_eq!(
            (&matched(2)["ordinal"]["known"], &matched(2)["verdict"]),
            (&1.into(), &"accept".into())
        );
        assert_eq!(syn["changes"][0]["field"], "destination");
        assert_eq!(
            (&lines[2]["reply"], &lines[2]["connection"]),
            (&true.into(), &1.into())
        );
        assert_eq!(
            (&lines[4]["why"], &lines[4]["lost"]["overruns"]),
            (&"count".into(), &0.into())
        );
    });
}

/// Connections in over 9080 and 9081, and out to 9090 as app and as proxy. They are not reset before the end.
fn traffic(pod: &Pod) -> (Vec<TcpListener>, Vec<TcpStream>) {
    let other = pod.pair.client_at(9090);
    let other = pod
        .pair
        .in_client(move |_| TcpListener::bind(other).expect("a free port"));
    let listeners = vec![pod.listens(15006), pod.listens_at_lo(15001), other];
    let mut streams: Vec<TcpStream> = Vec::new();
    streams.extend([9080, 9081].map(|port| pod.client_connects(port)));
    let out = [APP, PROXY].map(|owner| pod.connects(owner, 9090));
    streams.extend(out.map(|it| it.expect("somebody listens")));
    (listeners, streams)
}

#[rstest]
#[case::a_port(&["--port", "9081"], &["POD:9081"])]
#[case::two_ports(&["--port", "9081", "--port", "9080"], &["POD:9080", "POD:9081"])]
#[case::an_address_and_a_port(&["--peer", "CLIENT", "--port", "9090"], &["CLIENT:9090", "CLIENT:9090"])]
#[case::a_user(&["--uid", "1337"], &["CLIENT:9090"])]
#[case::a_chain(&["--rule", "ISTIO_INBOUND"], &["POD:9080", "POD:9081"])]
#[case::a_place(&["--rule", "ISTIO_OUTPUT:4"], &["CLIENT:9090"])]
#[case::a_text(&["--rule", "--to-ports 15001"], &["CLIENT:9090"])]
#[case::a_text_and_another_user(&["--rule", "--to-ports 15001", "--uid", "1337"], &[])]
#[case::none(&[], &["POD:9080", "POD:9081", "CLIENT:9090", "CLIENT:9090"])]
fn filters_show_some_connections_only(
    #[case] filter: &[&str],
    #[case] wanted: &[&str],
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let client = pod.pair.client_at(0).ip().to_string();
        let filter = filter.iter().map(|it| it.replace("CLIENT", &client));
        let filter: Vec<String> = filter.collect();
        let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
        let running = pod.trace(&filter);
        let _open = traffic(&pod);
        let ended = super::ends::interrupted(running);
        let heads = ended.stdout.lines().filter_map(|line| {
            let (number, to) = line.split_once(" → ").filter(|it| it.0.starts_with('#'))?;
            let number = number.split(' ').next().unwrap_or_default().to_owned();
            Some((
                number,
                to.replace(&client, "CLIENT")
                    .replace(&pod.pair.pod_at(0).ip().to_string(), "POD"),
            ))
        });
        let (numbers, ends): (Vec<String>, Vec<String>) = heads.unzip();
        assert_eq!(ends, wanted, "{}\n{}", ended.stdout, ended.stderr);
        let counted: Vec<String> = (1..=wanted.len()).map(|n| format!("#{n}")).collect();
        assert_eq!(numbers, counted);
    });
}

#[rstest]
fn all_packets_of_a_connection_keep_its_number(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let proxy = pod.listens(15006);
        let running = pod.trace(&["--all-packets", "--port", "9080", "--json"]);
        let mut client = pod.client_connects(9080);
        let (mut accepted, _) = proxy.accept().expect("it connected");
        client.write_all(b"request").expect("it is connected");
        std::io::Read::read_exact(&mut accepted, &mut [0; 7]).expect("it comes");
        let lines = values(&super::ends::interrupted(running));
        let packets = of_event(&lines, "packet");
        let words = packets.iter().map(|it| {
            let flags = it["packet"]["stations"][0]["header"]["tcp"]["flags"].as_u64();
            (it["connection"].as_u64(), it["reply"] == true, flags)
        });
        let words: Vec<_> = words.take(4).collect();
        // SYN, SYN ACK, ACK, PSH ACK.
        let of = |reply, flags| (Some(1), reply, Some(flags));
        assert_eq!(
            words,
            [of(false, 2), of(true, 18), of(false, 16), of(false, 24)],
            "{lines:#?}"
        );
        assert_eq!(of_event(&lines, "conntrack").len(), 1);
    });
}

#[rstest]
fn rules_that_change_while_it_runs_are_read_again() {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(Backend::Nft, Family::V4);
        let _proxy = pod.listens(15006);
        let running = pod.trace(&["--count", "2"]);
        let _first = pod.client_connects(9080);
        pod.pair
            .apply("*nat\n-I ISTIO_INBOUND 1 -p tcp --dport 9081 -j RETURN\nCOMMIT\n");
        let _direct = pod.listens(9081);
        let _second = pod.client_connects(9081);
        let ended = running.ended();
        let wanted = "nat ISTIO_INBOUND 1             -p tcp -m tcp --dport 9081 -j RETURN";
        let plain = "nat ISTIO_INBOUND 1             -p tcp --dport 9081 -j RETURN";
        assert!(
            ended.stdout.contains(wanted) || ended.stdout.contains(plain),
            "{}\n{}",
            ended.stdout,
            ended.stderr
        );
    });
}
