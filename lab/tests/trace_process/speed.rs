//! How soon a connection is on standard output, measured: `just bench-trace`.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::Stdio,
    time::Instant,
};

use hoplab::{netfilter::Backend, rules::Family};
use rstest::rstest;

use super::{Pod, sandbox::in_sandbox};

const CONNECTIONS: usize = 200;

#[rstest]
#[ignore = "a measurement"]
fn speed_from_a_connection_to_its_line(#[values(Backend::Nft, Backend::Legacy)] backend: Backend) {
    in_sandbox(|| {
        let pod = Pod::with_sidecar(backend, Family::V4);
        let proxy = pod.listens(15006);
        // It ends with the test binary.
        std::thread::spawn(move || proxy.incoming().for_each(drop));
        let begun = Instant::now();
        let mut command = pod.command(&["--json", "--port", "9080"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        assert!(lines.next().is_some_and(|it| it.contains("\"start\"")));
        let ready = begun.elapsed();
        let to = pod.pair.pod_at(9080);
        let mut took: Vec<u128> = Vec::new();
        for _ in 0..CONNECTIONS {
            let (begun, client) = pod.pair.in_client(move |_| {
                let begun = Instant::now();
                (begun, TcpStream::connect(to).expect("the proxy listens"))
            });
            // Two packets and conntrack's entry.
            assert!(lines.by_ref().take(3).all(|it| !it.contains("\"end\"")));
            took.push(begun.elapsed().as_micros());
            drop(client);
        }
        drop(lines);
        child.wait().expect("it ends with its reader");
        took.sort_unstable();
        let at = |part: usize| took[took.len() * part / 100];
        println!(
            "\n{backend}: observers in place after {ready:?}; from connect(2) to the last of three lines {} µs (median), {} µs (p90), {} µs (p99)",
            at(50),
            at(90),
            at(99),
        );
    });
}
