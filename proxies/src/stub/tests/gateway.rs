//! The proxy as a gateway: the relay between real connections, without any interception.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::listen::{Listener, bind};
use crate::record::ConnectResult;
use crate::wire::{GatewayRoute, ProxyConfig, ServiceRoute};

/// Positions of a gateway's IPv4 listeners.
const GATEWAY: usize = 0;
const HEALTH: usize = 2;
const METRICS: usize = 4;

pub(super) async fn gateway(endpoints: Vec<SocketAddr>, max_connections: usize) -> Stub {
    let vip = "10.96.0.3:80".parse().expect("literal");
    Stub::start(Part::Proxy(ProxyConfig {
        sidecar: None,
        gateway: Some(GatewayRoute {
            port: 0,
            service: "reviews".to_owned(),
        }),
        health_ports: vec![0],
        metrics_port: Some(0),
        admin_port: Some(0),
        tunnel_port: None,
        dns: None,
        upstream_mark: None,
        services: vec![ServiceRoute {
            service: "reviews".to_owned(),
            vip,
            endpoints,
        }],
        max_connections,
    }))
    .await
}

pub(super) fn listener() -> Listener {
    bind("127.0.0.1:0".parse().expect("literal")).expect("bind")
}

/// Says `name` on every connection and ends it.
fn say(listener: Listener, name: &'static str) -> SocketAddr {
    let address = listener.address;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.socket.accept().await.expect("accept");
            stream.write_all(name.as_bytes()).await.expect("write");
        }
    });
    address
}

async fn hear(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).await.expect("connect");
    let mut heard = String::new();
    let end = timeout(DEADLINE, stream.read_to_string(&mut heard)).await;
    end.expect("in time").expect("an orderly end");
    heard
}

#[tokio::test]
async fn endpoints_are_taken_in_turn() {
    let endpoints = vec![say(listener(), "one"), say(listener(), "two")];
    let gateway = gateway(endpoints, 10).await;
    let to = gateway.on_loopback(GATEWAY);
    assert_eq!(
        [hear(to).await, hear(to).await, hear(to).await],
        ["one", "two", "one"]
    );
}

#[tokio::test]
async fn a_relayed_connection_is_logged_in_causal_order() {
    let mut gateway = gateway(vec![say(listener(), "one")], 10).await;
    hear(gateway.on_loopback(GATEWAY)).await;
    assert_eq!(gateway.closed(1).await, CloseOutcome::Done);
    assert_eq!(
        gateway.events(),
        ["accept 1", "connect 2 for 1", "close 2", "close 1"]
    );
}

#[tokio::test]
async fn a_client_of_an_upstream_that_refuses_sees_the_end_of_data() {
    let closed_port = listener().address;
    let mut gateway = gateway(vec![closed_port], 10).await;
    let mut client = TcpStream::connect(gateway.on_loopback(GATEWAY))
        .await
        .expect("connect");
    client
        .write_all(b"never read by anybody")
        .await
        .expect("write");
    let end = timeout(DEADLINE, client.read(&mut [0]))
        .await
        .expect("in time");
    assert_eq!(end.expect("the end of data, not a reset"), 0);
    drop(client);
    let outcome = gateway.closed(1).await;
    assert_eq!(
        outcome,
        CloseOutcome::UpstreamFailed("ECONNREFUSED".to_owned())
    );
    assert_eq!(gateway.events(), ["accept 1", "connect 2 for 1", "close 1"]);
    let Event::Connect { result, .. } = &gateway.records[1].event else {
        panic!("not a connect")
    };
    assert_eq!(
        *result,
        ConnectResult::Failed {
            errno: "ECONNREFUSED".to_owned()
        }
    );
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_closed_as_over_the_limit() {
    let upstream = listener();
    let mut gateway = gateway(vec![upstream.address], 1).await;
    let to = gateway.on_loopback(GATEWAY);
    let _held = TcpStream::connect(to).await.expect("connect");
    let _served = timeout(DEADLINE, upstream.socket.accept())
        .await
        .expect("in time");
    assert_eq!(hear(to).await, "");
    assert_eq!(gateway.closed(3).await, CloseOutcome::OverLimit);
}

#[tokio::test]
async fn a_place_is_free_again_after_a_connection_ended() {
    let mut gateway = gateway(vec![say(listener(), "one")], 1).await;
    let to = gateway.on_loopback(GATEWAY);
    hear(to).await;
    gateway.closed(1).await;
    assert_eq!(hear(to).await, "one");
}

#[tokio::test]
async fn a_reset_by_the_client_is_logged_on_its_connection() {
    let upstream = listener();
    let mut gateway = gateway(vec![upstream.address], 10).await;
    let client = TcpStream::connect(gateway.on_loopback(GATEWAY))
        .await
        .expect("connect");
    let _served = timeout(DEADLINE, upstream.socket.accept())
        .await
        .expect("in time");
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("set linger");
    drop(client);
    assert_eq!(gateway.closed(1).await, CloseOutcome::Reset);
    let passed_on = "reset by this proxy: its client ended with ECONNRESET";
    assert_eq!(
        gateway.closed(2).await,
        CloseOutcome::Error(passed_on.to_owned())
    );
}

#[tokio::test]
async fn a_health_check_is_answered_and_logged() {
    let mut gateway = gateway(Vec::new(), 10).await;
    let mut probe = Stub::start(Part::Probe).await;
    let answer = probe
        .get(gateway.on_loopback(HEALTH), "/healthz/ready")
        .await;
    assert_eq!(body(answer), "ready\n");
    assert_eq!(gateway.closed(1).await, CloseOutcome::Done);
    assert_eq!(gateway.events(), ["accept 1", "close 1"]);
}

#[tokio::test]
async fn metrics_tell_of_relayed_connections() {
    let mut gateway = gateway(vec![say(listener(), "one")], 10).await;
    hear(gateway.on_loopback(GATEWAY)).await;
    gateway.closed(1).await;
    let mut probe = Stub::start(Part::Probe).await;
    let text = body(
        probe
            .get(gateway.on_loopback(METRICS), "/stats/prometheus")
            .await,
    );
    let expected = [
        r#"hoplab_proxy_connections_accepted_total{listener="gateway"} 1"#,
        r#"hoplab_proxy_connections_open{listener="gateway"} 0"#,
        r#"hoplab_proxy_bytes_total{listener="gateway",direction="to_client"} 3"#,
    ];
    let shown: Vec<&str> = text
        .lines()
        .filter(|line| expected.contains(line))
        .collect();
    assert_eq!(
        shown.len(),
        expected.len(),
        "expected {expected:#?} in\n{text}"
    );
}
