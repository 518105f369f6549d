//! What a watch says when it can't know: lost events, rules that changed meanwhile.

use std::{
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    process::{Command, Stdio},
};

use hoplab::{
    netfilter::Backend,
    rules::Family,
    trace::{Options, Ordinal, Packets, Selection, TraceWatch, TracedPacket},
};
use rstest::rstest;

use super::{
    APP, Pair,
    sandbox::{in_sandbox, in_user_namespace, loopback},
    stopped, told,
};

#[rstest]
fn lost_events_are_counted(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let options = Options {
            room: 16 << 10,
            ..pair.options(Selection {
                packets: Packets::All,
                ..Selection::default()
            })
        };
        let mut watch = pair.watch_with(options);
        let to = SocketAddr::new(loopback(Family::V4), 9);
        let socket = pair.datagrams(APP, SocketAddr::new(loopback(Family::V4), 0));
        for _ in 0..500 {
            // The answer "nobody listens" is the next call's error.
            let _ = socket.send_to(b"much", to);
        }
        watch.drain().expect("loss is no error");
        let lost = watch.lost();
        assert!(lost.overruns > 0 && lost.messages > 500, "{lost:?}");
        assert!(!lost.is_nothing());
        // The kernel numbers what it logs: the gap shows as soon as a message comes through again.
        let _ = socket.send_to(b"one more", to);
        let (_, lost) = watch.stop().expect("the sockets work");
        assert!(lost.log_gaps > 0, "{lost:?}");
    });
}

#[rstest]
fn the_same_traffic_with_room_for_it_loses_nothing(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let mut watch = pair.watch(Selection::default());
        let to = SocketAddr::new(loopback(Family::V4), 9);
        let socket = pair.datagrams(APP, SocketAddr::new(loopback(Family::V4), 0));
        read_on(&mut watch, &socket, to);
        stopped(watch);
    });
}

/// Sends 500 datagrams to nobody, and reads after each. All that were sent must be there.
fn read_on(watch: &mut TraceWatch, socket: &UdpSocket, to: SocketAddr) {
    let mut packets = Vec::new();
    for _ in 0..500 {
        let _ = socket.send_to(b"much", to);
        packets.extend(watch.ended().expect("the sockets work"));
    }
    packets.extend(watch.drain().expect("the sockets work"));
    let queries = packets.iter().filter(|it| it.first().protocol == 17);
    let queries = queries.count();
    assert!(
        queries >= 250,
        "every second call is told the error of the one before: {queries}"
    );
}

/// What a supervisor does where there is little room, as an ordinary user's has: it reads while the flow goes on.
#[rstest]
fn little_room_is_enough_for_what_is_read_while_it_goes_on(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let little = || {
            pair.watch_with(Options {
                room: 128 << 10,
                ..pair.options(Selection {
                    packets: Packets::All,
                    ..Selection::default()
                })
            })
        };
        let to = SocketAddr::new(loopback(Family::V4), 9);
        let socket = pair.datagrams(APP, SocketAddr::new(loopback(Family::V4), 0));
        let mut watch = little();
        read_on(&mut watch, &socket, to);
        stopped(watch);
        // The same, read at the end.
        let mut watch = little();
        for _ in 0..500 {
            let _ = socket.send_to(b"much", to);
        }
        watch.drain().expect("loss is no error");
        assert!(watch.lost().messages > 500, "{:?}", watch.lost());
    });
}

/// Without root of the machine there is no SO_RCVBUFFORCE: the room is what the machine gives to anyone.
#[rstest]
fn as_an_ordinary_user_the_room_is_the_machines_limit_and_is_made_use_of(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_user_namespace(&[], || {
        let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("a limit");
        let limit: usize = limit.trim().parse().expect("a number");
        let pair = Pair::new(backend, Family::V4);
        // There is one user in this namespace: no rule can name another.
        pair.apply("*nat\n-A OUTPUT -p udp -m udp --dport 9 -j ACCEPT\nCOMMIT\n");
        let asked = limit + (1 << 20);
        let options = |room| Options {
            room,
            ..pair.options(Selection::default())
        };
        let mut watch = pair.watch_with(options(asked));
        // The kernel counts its own data about a message too, and doubles what is asked for.
        assert_eq!(watch.room(), 2 * limit);
        let to = SocketAddr::new(loopback(Family::V4), 9);
        let own = SocketAddr::new(loopback(Family::V4), 0);
        let socket = pair.in_pod(move |_| UdpSocket::bind(own).expect("a free port"));
        read_on(&mut watch, &socket, to);
        stopped(watch);
    });
}

/// Ordinals of the rules a packet met in ISTIO_INBOUND.
fn inbound(packet: &TracedPacket) -> Vec<Ordinal> {
    let rules = packet
        .rules()
        .filter(|(_, place, _)| place.chain.chain == "ISTIO_INBOUND");
    rules.map(|(_, place, _)| place.ordinal.clone()).collect()
}

#[rstest]
#[case::replaced(
    "*nat\n-R ISTIO_INBOUND 5 -p tcp -j ISTIO_IN_REDIRECT\nCOMMIT\n",
    "rule 5 was replaced, and is rule 5 afterwards",
    5
)]
#[case::made_anew(
    "*nat\n-D ISTIO_INBOUND 5\n-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\nCOMMIT\n\
     *nat\n-I ISTIO_INBOUND 1 -p tcp --dport 9 -j RETURN\nCOMMIT\n",
    "rule 5 before, gone afterwards",
    6
)]
fn a_rule_that_changed_before_the_trace_was_read_is_said_to_be_unknown(
    #[case] changes: &str,
    #[case] words: &str,
    #[case] later: u32,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(Backend::Nft, Family::V4, "");
        let _proxy = pair.listens(15006);
        let mut watch = pair.watch(Selection::default());
        let _first = pair.client_connects(9080);
        pair.apply(changes);
        let packets = watch.drain().expect("the sockets work");
        let places = inbound(&packets[0]);
        let [Ordinal::Unknown(why)] = &places[..] else {
            panic!("{places:?}");
        };
        assert!(why.ends_with(words), "{why}");
        // Rules of other chains are as sure as ever.
        let sure = packets[0]
            .rules()
            .filter(|(_, place, _)| place.rule_id().is_some());
        assert_eq!(sure.count(), 2, "{}", told(&packets));
        // What comes later meets rules that stand still.
        let _second = pair.client_connects(9080);
        let packets = stopped(watch);
        assert_eq!(
            inbound(&packets[0]),
            [Ordinal::Known(later)],
            "{}",
            told(&packets)
        );
    });
}

#[rstest]
fn rules_that_changed_elsewhere_or_only_once_leave_no_doubt() {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(Backend::Nft, Family::V4, "");
        let _proxy = pair.listens(15006);
        let mut watch = pair.watch(Selection::default());
        let _first = pair.client_connects(9080);
        pair.apply("*mangle\n-A INPUT -p tcp --dport 9\nCOMMIT\n");
        pair.apply("*nat\n-I ISTIO_OUTPUT 1 -p tcp --dport 9 -j RETURN\nCOMMIT\n");
        let packets = watch.drain().expect("the sockets work");
        assert_eq!(
            inbound(&packets[0]),
            [Ordinal::Known(5)],
            "{}",
            told(&packets)
        );
        let _second = pair.client_connects(9080);
        pair.apply("*nat\n-A ISTIO_INBOUND -p tcp --dport 9 -j RETURN\nCOMMIT\n");
        let packets = watch.drain().expect("the sockets work");
        assert_eq!(
            inbound(&packets[0]),
            [Ordinal::Known(5)],
            "{}",
            told(&packets)
        );
    });
}

const NATIVE: &str = "table inet istio-proxy-nat {
  chain prerouting { type nat hook prerouting priority dstnat; meta l4proto tcp jump istio-inbound; }
  chain istio-inbound { tcp dport 15008 return; meta l4proto tcp goto istio-in-redirect; }
  chain istio-in-redirect { meta l4proto tcp redirect to :15006; }
}
";

#[rstest]
fn rules_of_a_native_nftables_table_have_places_too(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::new(Backend::Nft, family);
        pair.in_pod(|_| {
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
        let _proxy = pair.listens(15006);
        let watch = pair.watch(Selection::default());
        let _client = pair.client_connects(9080);
        let packets = stopped(watch);
        let lines = [
            "PREROUTING inet istio-proxy-nat prerouting 1: jump istio-inbound",
            "PREROUTING inet istio-proxy-nat istio-inbound 2: goto istio-in-redirect",
            "PREROUTING inet istio-proxy-nat istio-in-redirect 1: accept",
        ];
        assert_eq!(packets[0].lines(), lines, "{}", told(&packets));
    });
}
