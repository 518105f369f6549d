//! Every kind of flow that a sidecar's rules tell apart: the exact list of hook, table, chain, place and verdict.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use hoplab::{
    netfilter::Backend,
    rules::{Family, RuleId, Table},
    trace::{
        ChangedField, Hook, Owner, Packets, Selection, Told, TracedPacket, Verdict, connections,
    },
};
use nix::sys::socket::{setsockopt, sockopt};
use rstest::rstest;

use super::{
    APP, PROXY, Pair,
    sandbox::{in_sandbox, loopback},
    stopped, told, until,
};

/// The lines of a packet, as they are written in a test: without the family, and with `legacy:` where only legacy
/// iptables has a chain without rules.
fn expect(packet: &TracedPacket, pair: &Pair, lines: &[&str]) {
    let family = match pair.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let lines = lines.iter().filter_map(|line| {
        let line = match (line.strip_prefix("legacy: "), pair.backend) {
            (Some(line), Backend::Legacy) => line,
            (Some(_), Backend::Nft) => return None,
            (None, _) => line,
        };
        let (hook, rest) = line.split_once(' ').expect("a hook and more");
        Some(format!("{hook} {family} {rest}"))
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(
        packet.lines(),
        lines,
        "{}",
        told(std::slice::from_ref(packet))
    );
}

/// Where the packet was going at each hook and priority where observers stand.
fn seen(
    packet: &TracedPacket,
    of: impl Fn(&TracedPacket, usize) -> SocketAddr,
) -> Vec<(Hook, i32, u16)> {
    let observed = packet
        .stations
        .iter()
        .enumerate()
        .filter(|(_, it)| it.steps.is_empty());
    observed
        .map(|(n, it)| (it.hook, it.priority, of(packet, n).port()))
        .collect()
}

fn destination(packet: &TracedPacket, station: usize) -> SocketAddr {
    packet.stations[station].header.destination_end()
}

fn source(packet: &TracedPacket, station: usize) -> SocketAddr {
    packet.stations[station].header.source_end()
}

fn opens(packet: &TracedPacket) -> bool {
    packet.first().tcp.is_some_and(|tcp| tcp.opens())
}

#[rstest]
fn an_inbound_connection_goes_to_the_proxy_and_its_reply_is_translated_back_without_a_rule(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let _proxy = pair.listens(15006);
        let watch = pair.watch(Selection::default());
        let _client = pair.client_connects(9080);
        let packets = stopped(watch);
        let [syn, reply] = &packets[..] else {
            panic!("{}", told(&packets));
        };
        expect(
            syn,
            &pair,
            &[
                "PREROUTING nat PREROUTING 1: jump ISTIO_INBOUND",
                "PREROUTING nat ISTIO_INBOUND 5: jump ISTIO_IN_REDIRECT",
                "PREROUTING nat ISTIO_IN_REDIRECT 1: accept",
                "legacy: INPUT nat INPUT policy: accept",
            ],
        );
        let to = [
            (Hook::Prerouting, -350, 9080),
            (Hook::Prerouting, -199, 9080),
            (Hook::Prerouting, 300, 15006),
            (Hook::Input, 300, 15006),
        ];
        assert_eq!(seen(syn, destination), to);
        let ids: Vec<_> = syn.rules().map(|(_, place, _)| place.rule_id()).collect();
        let id = |chain, ordinal| Some(RuleId::new(family, Table::Nat, chain, ordinal));
        let [in_redirect, inbound] = [id("ISTIO_IN_REDIRECT", 1), id("ISTIO_INBOUND", 5)];
        assert_eq!(ids, [id("PREROUTING", 1), inbound, in_redirect]);
        // The reply passes OUTPUT as the proxy's, and leaves as the app's: no rule was asked.
        expect(reply, &pair, &[]);
        let from = [
            (Hook::Output, -350, 15006),
            (Hook::Output, -199, 15006),
            (Hook::Output, 300, 15006),
            (Hook::Postrouting, 350, 9080),
        ];
        assert_eq!(seen(reply, source), from);
        let joined = connections(&packets);
        assert_eq!(joined.len(), 1);
        assert_eq!(
            (&joined[0].packets[..], &joined[0].replies[..]),
            (&[0][..], &[1][..])
        );
        let json = serde_json::to_string(&packets).expect("a JSON form");
        let read: Vec<TracedPacket> = serde_json::from_str(&json).expect("it reads back");
        assert_eq!(read, packets);
    });
}

#[rstest]
fn what_the_app_sends_goes_to_the_proxy_over_lo(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let _proxy = pair.listens_at_lo(15001);
        let watch = pair.watch(Selection::default());
        let to = pair.client_at(9080);
        let _app = pair.pod_connects(APP, to).expect("the proxy listens");
        let packets = stopped(watch);
        let [syn, reply] = &packets[..] else {
            panic!("{}", told(&packets));
        };
        expect(
            syn,
            &pair,
            &[
                "OUTPUT nat OUTPUT 1: jump ISTIO_OUTPUT",
                "OUTPUT nat ISTIO_OUTPUT 9: jump ISTIO_REDIRECT",
                "OUTPUT nat ISTIO_REDIRECT 1: accept",
                "legacy: POSTROUTING nat POSTROUTING policy: accept",
            ],
        );
        // One packet all the way, though its trace id is another one after lo; nat PREROUTING is not asked.
        let over_lo = [
            Hook::Output,
            Hook::Postrouting,
            Hook::Prerouting,
            Hook::Input,
        ];
        assert_eq!(
            (syn.hooks(), reply.hooks()),
            (over_lo.into(), over_lo.into())
        );
        assert_eq!(syn.owner, Owner::Socket { uid: APP, gid: APP });
        let changed = syn.changes();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(changed[0].field, ChangedField::Destination);
        assert_eq!(changed[0].before, to.to_string());
        assert_eq!(syn.last().destination, loopback(family));
        assert!(matches!(&reply.owner, Owner::Missing(why) if why.contains("SYN-ACK")));
        expect(reply, &pair, &[]);
    });
}

#[rstest]
fn what_the_proxy_sends_leaves_as_it_is(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let _other = pair.client_listens(9080);
        let watch = pair.watch(Selection::default());
        let to = pair.client_at(9080);
        let _proxy = pair.pod_connects(PROXY, to).expect("somebody listens");
        let packets = stopped(watch);
        let [syn, reply] = &packets[..] else {
            panic!("{}", told(&packets));
        };
        expect(
            syn,
            &pair,
            &[
                "OUTPUT nat OUTPUT 1: jump ISTIO_OUTPUT",
                "OUTPUT nat ISTIO_OUTPUT 4: return",
                "OUTPUT nat OUTPUT policy: accept",
                "legacy: POSTROUTING nat POSTROUTING policy: accept",
            ],
        );
        assert_eq!(syn.hooks(), [Hook::Output, Hook::Postrouting]);
        let owner = Owner::Socket {
            uid: PROXY,
            gid: PROXY,
        };
        assert_eq!((syn.changes(), &syn.owner), (Vec::new(), &owner));
        expect(reply, &pair, &[]);
        assert_eq!(reply.hooks(), [Hook::Prerouting, Hook::Input]);
    });
}

#[rstest]
fn a_proxy_that_calls_its_own_pod_is_led_back_to_itself_and_a_refusal_is_seen(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let watch = pair.watch(Selection::default());
        let error = pair.pod_connects(PROXY, pair.pod_at(9080));
        let error = error.expect_err("nobody listens at 15006");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let packets = stopped(watch);
        let [syn, refusal] = &packets[..] else {
            panic!("{}", told(&packets));
        };
        expect(
            syn,
            &pair,
            &[
                "OUTPUT nat OUTPUT 1: jump ISTIO_OUTPUT",
                "OUTPUT nat ISTIO_OUTPUT 2: jump ISTIO_IN_REDIRECT",
                "OUTPUT nat ISTIO_IN_REDIRECT 1: accept",
                "legacy: POSTROUTING nat POSTROUTING policy: accept",
            ],
        );
        assert_eq!(
            syn.last().destination_end(),
            SocketAddr::new(loopback(family), 15006)
        );
        let words = refusal.first().tcp.expect("it is TCP").flag_words();
        assert_eq!(words, "rst ack");
        assert_eq!(refusal.last().source_end(), pair.pod_at(9080));
    });
}

#[rstest]
fn a_port_that_the_rules_let_alone_shows_the_rule_that_returned(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let _probe = pair.listens(15021);
        let watch = pair.watch(Selection::default());
        let _client = pair.client_connects(15021);
        let packets = stopped(watch);
        expect(
            &packets[0],
            &pair,
            &[
                "PREROUTING nat PREROUTING 1: jump ISTIO_INBOUND",
                "PREROUTING nat ISTIO_INBOUND 3: return",
                "PREROUTING nat PREROUTING policy: accept",
                "legacy: INPUT nat INPUT policy: accept",
            ],
        );
        assert_eq!(packets[0].changes(), []);
    });
}

#[rstest]
fn a_dropped_packet_ends_at_the_rule_that_dropped_it(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        // The second one is unconditional in a chain of its own: legacy calls it by the word for a policy or return.
        let more = "*filter\n-N GRAVE\n-A INPUT -p tcp --dport 9\n-A INPUT -p tcp --dport 7777 -j GRAVE\n\
                    -A GRAVE -j DROP\nCOMMIT\n*nat\n-I ISTIO_INBOUND 1 -p tcp --dport 7777 -j RETURN\nCOMMIT\n";
        let pair = Pair::with_sidecar(backend, family, more);
        let watch = pair.watch(Selection::default());
        let to = pair.pod_at(7777);
        // The answer never comes; the SYN has left when connect(2) waits for it.
        let connecting = pair.in_client(move |_| connect_without_waiting(to));
        let packets = until(watch, 1, |it| it.dropped().is_some());
        drop(connecting);
        expect(
            &packets[0],
            &pair,
            &[
                "PREROUTING nat PREROUTING 1: jump ISTIO_INBOUND",
                "PREROUTING nat ISTIO_INBOUND 1: return",
                "PREROUTING nat PREROUTING policy: accept",
                "INPUT filter INPUT 2: jump GRAVE",
                "INPUT filter GRAVE 1: drop",
            ],
        );
        assert_eq!(packets[0].hooks(), [Hook::Prerouting, Hook::Input]);
    });
}

fn connect_without_waiting(to: SocketAddr) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
    use std::os::fd::AsRawFd;
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None).expect("a socket");
    let begun = connect(socket.as_raw_fd(), &SockaddrStorage::from(to));
    assert_eq!(begun, Err(nix::errno::Errno::EINPROGRESS));
    socket
}

#[rstest]
fn tproxy_marks_the_packet_and_leaves_its_addresses(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::new(backend, family);
        pair.apply(
            "*mangle\n-N ISTIO_INBOUND\n-N ISTIO_TPROXY\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n\
             -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY\n\
             -A ISTIO_TPROXY -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff\nCOMMIT\n",
        );
        let proxy = pair.listens(15006);
        make_transparent(&proxy);
        let watch = pair.watch(Selection::default());
        let client = pair.client_connects(9080);
        assert_eq!(
            client.peer_addr().expect("it is connected"),
            pair.pod_at(9080)
        );
        let packets = stopped(watch);
        let syn = &packets[0];
        expect(
            syn,
            &pair,
            &[
                "PREROUTING mangle PREROUTING 1: jump ISTIO_INBOUND",
                "PREROUTING mangle ISTIO_INBOUND 2: jump ISTIO_TPROXY",
                "PREROUTING mangle ISTIO_TPROXY 1: accept",
                "legacy: INPUT mangle INPUT policy: accept",
            ],
        );
        let changes = syn.changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        let marked = (
            changes[0].field,
            &changes[0].before[..],
            &changes[0].after[..],
        );
        assert_eq!(marked, (ChangedField::Mark, "0x0", "0x539"));
        assert_eq!(syn.last().destination_end(), pair.pod_at(9080));
        let tproxy = syn.stations.iter().flat_map(|it| &it.steps).nth(2);
        let told = match backend {
            Backend::Nft => Told::Kernel,
            // The line is written before the target is asked, which may drop.
            Backend::Legacy => Told::WentOn,
        };
        assert!(
            matches!(tproxy, Some(hoplab::trace::Step::Rule { told: it, verdict: Verdict::Accept, .. }) if *it == told),
            "{tproxy:?}"
        );
    });
}

/// A listener that TPROXY may hand packets to. The option is the same for IPv6, and works after listen(2).
fn make_transparent(listener: &TcpListener) {
    setsockopt(listener, sockopt::IpTransparent, &true).expect("CAP_NET_ADMIN");
}

/// Istio's rules for DNS capture: a zone for the app's queries, another for the proxy's own.
const DNS: &str = "*raw
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
-A OUTPUT -p udp --dport 53 -j CT --zone 2
-A PREROUTING -p udp --sport 53 -j CT --zone 1
COMMIT
*nat
-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053
COMMIT
";

#[rstest]
fn a_dns_query_over_udp_is_redirected_in_the_zone_of_the_app(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::new(backend, family);
        pair.apply(DNS);
        let lo = loopback(family);
        let proxy = pair.datagrams(PROXY, SocketAddr::new(lo, 15053));
        let any: IpAddr = match family {
            Family::V4 => "0.0.0.0".parse().expect("an address"),
            Family::V6 => "::".parse().expect("an address"),
        };
        let app = pair.datagrams(APP, SocketAddr::new(any, 0));
        let watch = pair.watch(Selection::default());
        let server = pair.client_at(53);
        let mut buffer = [0; 64];
        app.send_to(b"query", server).expect("it is sent");
        let (length, from) = proxy.recv_from(&mut buffer).expect("it is redirected");
        assert_eq!(&buffer[..length], b"query");
        proxy.send_to(b"answer", from).expect("it is sent");
        let (length, from) = app.recv_from(&mut buffer).expect("it is translated back");
        assert_eq!((&buffer[..length], from), (&b"answer"[..], server));
        let packets = stopped(watch);
        let [query, answer] = &packets[..] else {
            panic!("{}", told(&packets));
        };
        expect(
            query,
            &pair,
            &[
                "OUTPUT raw OUTPUT 3: continue",
                "OUTPUT raw OUTPUT policy: accept",
                "OUTPUT nat OUTPUT 2: accept",
                "legacy: POSTROUTING nat POSTROUTING policy: accept",
                "PREROUTING raw PREROUTING policy: accept",
            ],
        );
        expect(
            answer,
            &pair,
            &[
                "OUTPUT raw OUTPUT 2: continue",
                "OUTPUT raw OUTPUT policy: accept",
                "PREROUTING raw PREROUTING 1: continue",
                "PREROUTING raw PREROUTING policy: accept",
            ],
        );
        assert_eq!(query.owner, Owner::Socket { uid: APP, gid: APP });
        let owner = Owner::Socket {
            uid: PROXY,
            gid: PROXY,
        };
        assert_eq!(answer.owner, owner);
        assert_eq!(connections(&packets).len(), 1, "{}", told(&packets));
        assert_eq!(answer.last().source_end(), server);
    });
}

#[rstest]
fn all_packets_are_traced_when_asked_for(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    use std::io::{Read as _, Write as _};
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let proxy = pair.listens(15006);
        let all = Selection {
            packets: Packets::All,
            ..Selection::default()
        };
        let watch = pair.watch(all);
        let mut client = pair.client_connects(9080);
        let (mut accepted, _) = proxy.accept().expect("it connected");
        client.write_all(b"request").expect("it is connected");
        let mut buffer = [0; 7];
        accepted.read_exact(&mut buffer).expect("it comes");
        let mut packets = stopped(watch);
        // All is all: the kernel's own router solicitations too.
        packets.retain(|it| it.first().protocol == 6);
        let inward: Vec<_> = packets
            .iter()
            .filter(|it| it.hooks()[0] == Hook::Prerouting)
            .collect();
        let words = |it: &TracedPacket| it.first().tcp.expect("it is TCP").flag_words();
        let words: Vec<_> = inward.iter().map(|it| words(it)).collect();
        assert_eq!(words, ["syn", "ack", "psh ack"], "{}", told(&packets));
        // nat is asked for the first one only.
        let asked: Vec<_> = inward.iter().map(|it| it.rules().count()).collect();
        assert_eq!(asked, [3, 0, 0]);
        assert_eq!(connections(&packets).len(), 1);
    });
}

#[rstest]
fn a_filter_follows_a_connection_whose_reply_has_another_port(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(true, false)] by_port: bool,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family, "");
        let _proxy = pair.listens(15006);
        let _own = pair.listens_at_lo(15001);
        let mut only = Selection::default();
        if by_port {
            only.ports = vec![9080, 9];
        } else {
            only.addresses = vec![pair.pod_at(0).ip()];
        }
        let watch = pair.watch(only);
        let _client = pair.client_connects(9080);
        let other = pair.client_connects(9081);
        let packets = stopped(watch);
        drop(other);
        let traced: Vec<_> = packets.iter().map(opens).collect();
        if by_port {
            // At -350 the reply says 15006; at -199 conntrack knows which connection it is of.
            assert_eq!(traced, [true, false], "{}", told(&packets));
            assert_eq!(packets[1].stations[0].priority, -199);
        } else {
            assert_eq!(traced, [true, false, true, false], "{}", told(&packets));
        }
    });
}

#[rstest]
fn a_connection_that_closes_again_is_another_one(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let _proxy = pair.listens(15006);
        let watch = pair.watch(Selection::default());
        let clients: Vec<TcpStream> = (0..20).map(|_| pair.client_connects(9080)).collect();
        let packets = stopped(watch);
        let joined = connections(&packets);
        let sizes: Vec<_> = joined
            .iter()
            .map(|it| (it.packets.len(), it.replies.len()))
            .collect();
        assert_eq!(sizes, vec![(1, 1); clients.len()]);
        for packet in packets.iter().filter(|it| opens(it)) {
            assert_eq!(
                packet.rules().count(),
                3,
                "{}",
                told(std::slice::from_ref(packet))
            );
        }
    });
}
