//! The DNS proxy of a sidecar, in front of the cluster's server.

use tokio::net::{TcpStream, UdpSocket};

use super::super::gateway::listener;
use super::*;
use crate::wire::{DnsProxy, ProxyConfig};

/// Position of the metrics port's IPv4 listener.
const METRICS: usize = 0;

async fn dns_proxy(upstream: Vec<SocketAddr>, max_connections: usize) -> Stub {
    Stub::start(Part::Proxy(ProxyConfig {
        sidecar: None,
        gateway: None,
        health_ports: Vec::new(),
        metrics_port: Some(0),
        admin_port: Some(0),
        tunnel_port: None,
        services: Vec::new(),
        dns: Some(DnsProxy {
            port: 0,
            also: Vec::new(),
            names: vec![name("ratings", &["10.96.0.4", "fd77::96:4"])],
            upstream,
        }),
        upstream_mark: None,
        max_connections,
    }))
    .await
}

/// Servers of both families for queries over one transport.
fn upstream(cluster: &Stub, transport: Transport) -> Vec<SocketAddr> {
    [true, false]
        .map(|v4| server(cluster, transport, v4))
        .to_vec()
}

#[rstest]
#[tokio::test]
async fn a_name_of_the_mesh_is_answered_by_the_proxy_itself(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(true, false)] v4: bool,
) {
    let mut proxy = dns_proxy(Vec::new(), 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&proxy, transport, v4);
    let outcome = probe.lookup(to, transport, "Ratings").await;
    let wanted = if v4 { "10.96.0.4" } else { "fd77::96:4" };
    assert_eq!(outcome, CallOutcome::Resolved(vec![ip(wanted)]));
    assert_eq!(proxy.closed(1).await, CloseOutcome::Done);
    assert_eq!(proxy.events(), ["accept 1", "close 1"]);
}

#[rstest]
#[tokio::test]
async fn any_other_name_is_asked_upstream_over_the_same_transport_and_family(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(true, false)] v4: bool,
) {
    let mut cluster = cluster().await;
    let mut proxy = dns_proxy(upstream(&cluster, transport), 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&proxy, transport, v4);
    let service = "ratings.default.svc.cluster.local";
    let outcome = probe.lookup(to, transport, service).await;
    let wanted = if v4 { "10.96.0.4" } else { "fd77::96:4" };
    assert_eq!(outcome, CallOutcome::Resolved(vec![ip(wanted)]));
    assert_eq!(proxy.closed(1).await, CloseOutcome::Done);
    assert_eq!(
        proxy.events(),
        ["accept 1", "connect 2 for 1", "close 2", "close 1"]
    );
    let Event::Connect {
        transport: carrier,
        remote,
        ..
    } = proxy.records[1].event
    else {
        panic!("not a connect: {:?}", proxy.records)
    };
    let wanted = (transport, server(&cluster, transport, v4));
    assert_eq!((carrier, remote), wanted);
    assert_eq!(cluster.closed(1).await, CloseOutcome::Done);
    assert_eq!(proxy.carried(2), {
        let (received, sent) = cluster.carried(1);
        (sent, received)
    });
}

#[tokio::test]
async fn a_name_that_does_not_exist_upstream_does_not_exist() {
    let cluster = cluster().await;
    let proxy = dns_proxy(upstream(&cluster, Transport::Udp), 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&proxy, Transport::Udp, true);
    let outcome = probe.lookup(to, Transport::Udp, "example.com").await;
    assert_eq!(outcome, CallOutcome::Unresolved("NXDOMAIN".to_owned()));
}

#[rstest]
#[tokio::test]
async fn a_client_is_told_when_no_upstream_answers(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
) {
    let closed = match transport {
        Transport::Tcp => listener().address,
        Transport::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
            socket.local_addr().expect("bound")
        }
    };
    let mut proxy = dns_proxy(vec![closed], 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&proxy, transport, true);
    let outcome = probe.lookup(to, transport, "example.org").await;
    assert_eq!(outcome, CallOutcome::Unresolved("SERVFAIL".to_owned()));
    let refused = "ECONNREFUSED".to_owned();
    assert_eq!(proxy.closed(1).await, CloseOutcome::UpstreamFailed(refused));
    let metrics = body(
        probe
            .get(proxy.on_loopback(METRICS), "/stats/prometheus")
            .await,
    );
    let failures = r#"hoplab_proxy_upstream_failures_total{listener="dns",errno="ECONNREFUSED"} 1"#;
    assert!(metrics.contains(failures), "{metrics}");
}

#[tokio::test]
async fn a_family_without_an_upstream_is_told_so() {
    let mut proxy = dns_proxy(vec!["192.0.2.53:53".parse().expect("literal")], 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&proxy, Transport::Udp, false);
    let outcome = probe.lookup(to, Transport::Udp, "example.org").await;
    assert_eq!(outcome, CallOutcome::Unresolved("SERVFAIL".to_owned()));
    let why = "no upstream server of this family".to_owned();
    assert_eq!(proxy.closed(1).await, CloseOutcome::UpstreamFailed(why));
    assert_eq!(proxy.events(), ["accept 1", "close 1"]);
}

#[tokio::test]
async fn one_query_more_than_allowed_is_not_answered_and_a_place_is_free_again_afterwards() {
    let mut proxy = dns_proxy(Vec::new(), 1).await;
    let mut probe = Stub::start(Part::Probe).await;
    let held = TcpStream::connect(server(&proxy, Transport::Tcp, true))
        .await
        .expect("connect");
    let Line::Record(accepted) = proxy.next_line().await else {
        panic!("not a record")
    };
    proxy.records.push(accepted);
    let to = server(&proxy, Transport::Udp, true);
    let limit = Duration::from_millis(50);
    let outcome = probe
        .lookup_within(to, Transport::Udp, "ratings", limit)
        .await;
    assert_eq!(outcome, CallOutcome::Timeout);
    assert_eq!(proxy.closed(2).await, CloseOutcome::OverLimit);
    drop(held);
    assert_eq!(proxy.closed(1).await, CloseOutcome::Done);
    let outcome = probe.lookup(to, Transport::Udp, "ratings").await;
    assert!(matches!(outcome, CallOutcome::Resolved(_)), "{outcome:?}");
    assert_eq!(proxy.closed(3).await, CloseOutcome::Done);
    let metrics = body(
        probe
            .get(proxy.on_loopback(METRICS), "/stats/prometheus")
            .await,
    );
    for number in [
        r#"connections_accepted_total{listener="dns"} 3"#,
        r#"connections_open{listener="dns"} 0"#,
        r#"over_limit_total{listener="dns"} 1"#,
        r#"loops_refused_total{listener="dns"} 0"#,
    ] {
        assert!(metrics.contains(number), "no {number} in {metrics}");
    }
}
