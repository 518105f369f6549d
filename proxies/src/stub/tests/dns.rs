//! Lookups, the cluster's DNS server and the sidecar's DNS proxy, over real sockets.

use std::net::IpAddr;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::gateway::listener;
use super::*;
use crate::record::{ConnectResult, OriginalDst, Transport};
use crate::wire::{DnsConfig, DnsProxy, NameRecord, ProxyConfig};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal")
}

fn names(list: &[(&str, &[&str])]) -> Vec<NameRecord> {
    let record = |(name, addresses): &(&str, &[&str])| NameRecord {
        name: (*name).to_owned(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
    };
    list.iter().map(record).collect()
}

/// Positions of a server's listeners: both families over TCP, then both over UDP.
fn position(transport: Transport, v4: bool) -> usize {
    match (transport, v4) {
        (Transport::Tcp, true) => 0,
        (Transport::Tcp, false) => 1,
        (Transport::Udp, true) => 2,
        (Transport::Udp, false) => 3,
    }
}

async fn cluster() -> Stub {
    Stub::start(Part::Dns(DnsConfig {
        listen: ["127.0.0.1:0", "[::1]:0"]
            .map(|text| text.parse().expect("literal"))
            .to_vec(),
        names: names(&[
            (
                "ratings.default.svc.cluster.local",
                &["10.96.0.4", "fd77::96:4"],
            ),
            ("example.org", &["203.0.113.7", "203.0.113.2"]),
            ("many.example.org", &MANY),
        ]),
    }))
    .await
}

/// More than fit into 512 bytes.
const MANY: [&str; 40] = ["192.0.2.1"; 40];

impl Stub {
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
}

#[rstest]
#[tokio::test]
async fn a_name_has_the_addresses_of_the_servers_family_in_order(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(true, false)] v4: bool,
) {
    let cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = cluster.on_loopback(position(transport, v4));
    let ratings = probe
        .lookup(to, transport, "Ratings.default.SVC.cluster.local")
        .await;
    let wanted = if v4 { "10.96.0.4" } else { "fd77::96:4" };
    assert_eq!(ratings, CallOutcome::Resolved(vec![ip(wanted)]));
    let example = probe.lookup(to, transport, "example.org").await;
    let wanted = if v4 {
        CallOutcome::Resolved(vec![ip("203.0.113.2"), ip("203.0.113.7")])
    } else {
        CallOutcome::Unresolved("NOERROR without addresses".to_owned())
    };
    assert_eq!(example, wanted);
}

#[rstest]
#[tokio::test]
async fn a_name_nobody_listed_does_not_exist(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
) {
    let cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = cluster.on_loopback(position(transport, true));
    let outcome = probe.lookup(to, transport, "example.com").await;
    assert_eq!(outcome, CallOutcome::Unresolved("NXDOMAIN".to_owned()));
}
