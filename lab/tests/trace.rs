//! What the kernel does with a packet, rule by rule, in real namespaces, on both backends and with both families.

#[path = "trace/flows.rs"]
mod flows;
#[path = "trace/quiet.rs"]
mod quiet;
#[path = "trace/room.rs"]
mod room;
#[path = "trace/sandbox.rs"]
mod sandbox;
#[path = "trace/speed.rs"]
mod speed;
#[path = "trace/watching.rs"]
mod watching;

use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hoplab::{
    builtin,
    netfilter::Backend,
    rules::Family,
    trace::{Lost, Options, Selection, TraceWatch, TracedPacket},
};

use sandbox::{Pair, as_user, loopback};

const PROFILE: &str = "istio-1.13";
const PROXY: u32 = 1337;
const APP: u32 = 1000;
/// Longest wait for a packet.
const DEADLINE: Duration = Duration::from_secs(20);

impl Pair {
    /// A pod with the rules of a sidecar, and more rules if there are any.
    fn with_sidecar(backend: Backend, family: Family, more: &str) -> Self {
        let pair = Self::new(backend, family);
        pair.apply(builtin::rule_text(PROFILE, family).expect("it is in the binary"));
        if !more.is_empty() {
            pair.apply(more);
        }
        pair
    }

    fn options(&self, selection: Selection) -> Options {
        let legacy = match self.backend {
            Backend::Nft => Vec::new(),
            Backend::Legacy => vec![self.saved()],
        };
        Options {
            selection,
            legacy,
            ..Options::default()
        }
    }

    /// Observers in the pod.
    fn watch(&self, selection: Selection) -> TraceWatch {
        self.watch_with(self.options(selection))
    }

    fn watch_with(&self, options: Options) -> TraceWatch {
        self.in_pod(move |_| TraceWatch::open(options).expect("observers"))
    }

    /// Listens in the pod.
    fn listens(&self, port: u16) -> TcpListener {
        let at = self.pod_at(port);
        self.in_pod(move |_| TcpListener::bind(at).expect("a free port"))
    }

    /// Listens in the pod, at lo.
    fn listens_at_lo(&self, port: u16) -> TcpListener {
        let at = SocketAddr::new(loopback(self.family), port);
        self.in_pod(move |_| TcpListener::bind(at).expect("a free port"))
    }

    /// Listens in the client's namespace.
    fn client_listens(&self, port: u16) -> TcpListener {
        let at = self.client_at(port);
        self.in_client(move |_| TcpListener::bind(at).expect("a free port"))
    }

    /// The client connects to the pod.
    fn client_connects(&self, port: u16) -> TcpStream {
        let to = self.pod_at(port);
        self.in_client(move |_| TcpStream::connect(to).expect("somebody listens"))
    }

    /// A process in the pod connects.
    fn pod_connects(&self, owner: u32, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.in_pod(move |_| as_user(owner, owner, || TcpStream::connect(to)))
    }

    /// A socket in the pod, of this owner.
    fn datagrams(&self, owner: u32, at: SocketAddr) -> UdpSocket {
        self.in_pod(move |_| as_user(owner, owner, || UdpSocket::bind(at).expect("a free port")))
    }
}

/// Packets seen until the watch was stopped, and nothing lost.
fn stopped(watch: TraceWatch) -> Vec<TracedPacket> {
    let (packets, lost) = watch.stop().expect("the sockets work");
    assert_eq!(lost, Lost::default());
    for packet in &packets {
        assert_eq!(packet.doubts, Vec::<String>::new());
    }
    packets
}

/// Packets that have come to their end, until there are enough of those that are wanted; then all that is left.
fn until(
    mut watch: TraceWatch,
    enough: usize,
    wanted: impl Fn(&TracedPacket) -> bool,
) -> Vec<TracedPacket> {
    let deadline = Instant::now() + DEADLINE;
    let mut packets: Vec<TracedPacket> = Vec::new();
    loop {
        packets.extend(watch.ended().expect("the sockets work"));
        if packets.iter().filter(|it| wanted(it)).count() >= enough {
            packets.extend(stopped(watch));
            return packets;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "in vain:\n{}", told(&packets));
        watch.wait(left).expect("poll works");
    }
}

/// All that was seen, for the message of an assertion.
fn told(packets: &[TracedPacket]) -> String {
    let lines = packets.iter().map(|it| {
        let stations = it.stations.iter().map(|station| {
            let (hook, priority, chain) = (station.hook, station.priority, &station.chain);
            format!("  {hook} {priority} {chain}: {}", station.header)
        });
        let steps = it.lines().into_iter().map(|line| format!("  = {line}"));
        let parts: Vec<_> = stations.chain(steps).collect();
        format!("{}\n{}", it.first(), parts.join("\n"))
    });
    lines.collect::<Vec<_>>().join("\n")
}
