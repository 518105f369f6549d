//! What the kernel does with a packet, rule by rule, in real namespaces, on both backends and with both families.

#[path = "trace/sandbox.rs"]
mod sandbox;

use std::{
    net::{TcpListener, TcpStream},
    time::Duration,
};

use hoplab::{
    builtin,
    netfilter::Backend,
    rules::Family,
    trace::{Lost, Options, Selection, Source, TraceWatch, TracedPacket},
};
use rstest::rstest;

use sandbox::{Pair, as_user, in_sandbox, loopback, restore, wait_for};

const PROFILE: &str = "istio-1.13";
const PROXY: u32 = 1337;
const APP: u32 = 1000;

impl Pair {
    /// A pod with the rules of a sidecar.
    fn with_sidecar(backend: Backend, family: Family) -> Self {
        let pair = Self::new(backend, family);
        pair.apply(builtin::rule_text(PROFILE, family).expect("it is in the binary"));
        pair
    }

    /// Observers in the pod.
    fn watch(&self, selection: Selection) -> TraceWatch {
        let legacy = match self.backend {
            Backend::Nft => Vec::new(),
            Backend::Legacy => vec![self.saved()],
        };
        let options = Options {
            selection,
            legacy,
            ..Options::default()
        };
        self.in_pod(move |_| TraceWatch::open(options).expect("observers"))
    }

    fn listens(&self, at: std::net::SocketAddr) -> TcpListener {
        self.in_pod(move |_| TcpListener::bind(at).expect("a free port"))
    }
}

/// Packets seen, and nothing lost.
fn packets(watch: TraceWatch) -> Vec<TracedPacket> {
    let (packets, lost) = watch.stop().expect("the sockets work");
    assert_eq!(lost, Lost::default());
    for packet in &packets {
        assert_eq!(packet.doubts, Vec::<String>::new());
    }
    packets
}

/// All that was seen, for the message of an assertion.
fn told(packets: &[TracedPacket]) -> String {
    serde_json::to_string_pretty(packets).expect("it has a JSON form")
}

#[rstest]
fn x(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, family);
        let _proxy = pair.listens(pair.pod_at(15006));
        let watch = pair.watch(Selection::default());
        let to = pair.pod_at(9080);
        let _c = pair.in_client(move |_| TcpStream::connect(to).expect("accepted"));
        let _o = pair.listens(std::net::SocketAddr::new(loopback(family), 15001));
        let to = pair.client_at(9080);
        let _d = pair.in_pod(move |_| as_user(APP, APP, || TcpStream::connect(to).expect("ok")));
        let packets = packets(watch);
        for p in &packets {
            println!("{} {:?} {:?} {:?}", p.first(), p.hooks(), p.owner, p.conntrack);
            for s in &p.stations { println!("   {} {} {} {} {:?}", s.hook, s.priority, s.chain, s.header, s.mark); }
            println!("{:#?} {:?}", p.lines(), p.changes());
        }
        println!("{}", told(&packets[..1]));
    });
}
