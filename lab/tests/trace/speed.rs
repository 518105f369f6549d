//! Costs, measured: `just bench-trace`.

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hoplab::{
    netfilter::Backend,
    rules::Family,
    trace::{Packets, Selection},
};
use rstest::rstest;

use super::{
    APP, Pair,
    sandbox::{in_sandbox, loopback},
};

const CONNECTIONS: u32 = 500;

fn connect_all(pair: &Pair) -> f64 {
    let to = pair.pod_at(9080);
    pair.in_client(move |_| {
        let begun = Instant::now();
        for _ in 0..CONNECTIONS {
            drop(TcpStream::connect(to).expect("the proxy listens"));
        }
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(CONNECTIONS)
    })
}

#[rstest]
#[ignore = "a measurement"]
fn of_observers_and_of_a_traced_connection(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let listener = pair.listens(15006);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream);
            }
        });
        let bare = connect_all(&pair);
        let options = pair.options(Selection::default());
        let begun = Instant::now();
        let mut watch = pair.watch_with(options);
        let install = begun.elapsed();
        let traced = connect_all(&pair);
        let begun = Instant::now();
        let packets = watch.drain().expect("the sockets work");
        let read = begun.elapsed().as_secs_f64() * 1e6;
        let begun = Instant::now();
        let (_, lost) = watch.stop().expect("the sockets work");
        println!(
            "\n{backend}: install {install:?}, stop {:?}; a connection {bare:.1} µs bare, {traced:.1} µs traced; \
             reading {} packets {:.1} µs each; lost {lost:?}",
            begun.elapsed(),
            packets.len(),
            read / packets.len() as f64,
        );
    });
}

/// Sends at this rate, in datagrams a second, for this long; spins between, since a pause would make bursts.
fn flood(sender: &UdpSocket, to: SocketAddr, rate: u32, time: Duration) -> u64 {
    let begun = Instant::now();
    let mut sent = 0u64;
    while begun.elapsed() < time {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            let _ = sender.send_to(b"x", to);
            sent += 1;
        }
        std::hint::spin_loop();
    }
    sent
}

#[rstest]
#[ignore = "a measurement"]
fn of_reading_while_there_is_traffic(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(1_000, 3_000, 10_000, 30_000, 100_000)] rate: u32,
) {
    const TIME: Duration = Duration::from_secs(3);
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let all = Selection {
            packets: Packets::All,
            ..Selection::default()
        };
        let mut watch = pair.watch(all);
        let lo = SocketAddr::new(loopback(Family::V4), 0);
        let sender = pair.datagrams(APP, lo);
        let receiver = pair.datagrams(APP, lo);
        let to = receiver.local_addr().expect("it is bound");
        let sending = std::thread::spawn(move || flood(&sender, to, rate, TIME));
        let begun = Instant::now();
        let (mut packets, mut events, mut first_loss) = (0, 0, None);
        while !sending.is_finished() {
            watch.wait(Duration::from_millis(10)).expect("poll works");
            let some = watch.ended().expect("the sockets work");
            packets += some.len();
            let stations = some.iter().flat_map(|it| &it.stations);
            events += stations.map(|it| 1 + it.steps.len()).sum::<usize>();
            if !watch.lost().is_nothing() && first_loss.is_none() {
                first_loss = Some(begun.elapsed());
            }
        }
        let took = begun.elapsed().as_secs_f64();
        let sent = sending.join().expect("it does not panic");
        println!(
            "\n{backend}: {sent} datagrams in {took:.1} s, {packets} read meanwhile, {:.0} events/s; first loss {first_loss:?}; {:?}",
            events as f64 / took,
            watch.lost(),
        );
    });
}
