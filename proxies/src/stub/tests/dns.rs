//! Lookups, the cluster's DNS server and the sidecar's DNS proxy, over real sockets.

mod cluster;
mod lookup;
mod sidecar;

use std::net::IpAddr;

use rstest::rstest;

use super::*;
use crate::record::{OriginalDst, Transport};
use crate::wire::{DnsConfig, NameRecord};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal")
}

fn name(name: &str, addresses: &[&str]) -> NameRecord {
    NameRecord {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
    }
}

/// A cluster's server on both loopback addresses, on ports the kernel chooses.
async fn cluster() -> Stub {
    Stub::start(Part::Dns(DnsConfig {
        listen: ["127.0.0.1:0", "[::1]:0"]
            .map(|text| text.parse().expect("literal"))
            .to_vec(),
        names: vec![
            name(
                "ratings.default.svc.cluster.local",
                &["10.96.0.4", "fd77::96:4"],
            ),
            name("example.org", &["203.0.113.7", "203.0.113.2"]),
        ],
    }))
    .await
}

/// Where a server with sockets of both families and nothing else listens: TCP comes before UDP, IPv4 before IPv6.
fn server(stub: &Stub, transport: Transport, v4: bool) -> SocketAddr {
    let udp = usize::from(transport == Transport::Udp);
    stub.on_loopback(stub.listeners.len() - 4 + 2 * udp + usize::from(!v4))
}

impl Stub {
    /// Looks a name up from this stub and reads lines up to its reply.
    async fn lookup(&mut self, to: SocketAddr, transport: Transport, name: &str) -> CallOutcome {
        self.lookup_within(to, transport, name, DEADLINE).await
    }

    async fn lookup_within(
        &mut self,
        to: SocketAddr,
        transport: Transport,
        name: &str,
        limit: Duration,
    ) -> CallOutcome {
        let lookup = Command::Lookup {
            source_port: None,
            id: 8,
            to,
            transport,
            name: name.to_owned(),
            request_id: "trace-2".to_owned(),
            timeout_ms: limit.as_millis() as u64,
        };
        self.commands
            .send(Ok(lookup))
            .await
            .expect("the stub takes commands");
        loop {
            match self.next_line().await {
                Line::Reply { id: 8, outcome } => return outcome,
                Line::Record(record) => self.records.push(record),
                other => panic!("unexpected line {other:?}"),
            }
        }
    }

    /// Bytes received and sent, of a closed connection.
    fn carried(&self, conn: u64) -> (u64, u64) {
        let of_conn = self.records.iter().filter(|record| record.conn == conn);
        let mut closes = of_conn.filter_map(|record| match record.event {
            Event::Close { received, sent, .. } => Some((received, sent)),
            _ => None,
        });
        closes.next().expect("closed")
    }
}
