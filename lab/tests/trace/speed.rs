//! Costs, measured: `cargo test -p hoplab --release --test trace -- --ignored --nocapture speed`.

use std::{
    net::{SocketAddr, TcpStream},
    time::Instant,
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
            "{backend}: install {install:?}, stop {:?}; a connection {bare:.1} µs bare, {traced:.1} µs traced; \
             reading {} packets {:.1} µs each; lost {lost:?}",
            begun.elapsed(),
            packets.len(),
            read / packets.len() as f64,
        );
    });
}

#[rstest]
#[ignore = "a measurement"]
fn of_reading_while_there_is_traffic(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
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
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let sending = std::thread::spawn(move || {
            let mut sent = 0u64;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = sender.send_to(b"x", to);
                sent += 1;
            }
            sent
        });
        let begun = Instant::now();
        let (mut packets, mut stations, mut until_loss) = (0, 0, None);
        while begun.elapsed().as_secs_f64() < 3.0 {
            let some = watch.ended().expect("the sockets work");
            packets += some.len();
            stations += some.iter().map(|it| it.stations.len()).sum::<usize>();
            if !watch.lost().is_nothing() && until_loss.is_none() {
                until_loss = Some((begun.elapsed(), stations));
            }
        }
        let took = begun.elapsed().as_secs_f64();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent = sending.join().expect("it does not panic");
        println!(
            "{backend}: {sent} sent, {packets} packets read, {:.0} stations/s in {took:.1} s; first loss at {until_loss:?}; {:?}",
            stations as f64 / took,
            watch.lost(),
        );
    });
}
