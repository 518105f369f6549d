//! The proxy as a sidecar, as far as it shows without a REDIRECT.

use super::*;
use crate::wire::{ProxyConfig, SidecarPorts};

async fn sidecar() -> Stub {
    let inbound_source = ["127.0.0.6", "::6"].map(|text| text.parse().expect("literal"));
    Stub::start(Part::Proxy(ProxyConfig {
        sidecar: Some(SidecarPorts {
            outbound: 0,
            inbound: 0,
            inbound_source,
            tproxy_mark: None,
            app_at_loopback: false,
        }),
        gateway: None,
        health_ports: Vec::new(),
        metrics_port: Some(0),
        admin_port: Some(0),
        tunnel_port: None,
        dns: None,
        upstream_mark: None,
        services: Vec::new(),
        max_connections: 10,
    }))
    .await
}

/// Calls the listener at `position` directly and expects to be refused for a loop.
async fn expect_loop(position: usize) {
    let mut sidecar = sidecar().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = sidecar.on_loopback(position);
    let answer = probe.get(to, "/").await;
    assert!(matches!(answer, CallOutcome::Closed(_)), "{answer:?}");
    let evidence = format!("original destination {to} is this proxy's own listener");
    assert_eq!(sidecar.closed(1).await, CloseOutcome::LoopRefused(evidence));
    assert_eq!(sidecar.events(), ["accept 1", "close 1"]);
}

#[tokio::test]
async fn a_direct_call_of_the_outbound_listener_is_refused_as_a_loop() {
    expect_loop(0).await;
}

#[tokio::test]
async fn a_direct_call_of_the_inbound_listener_is_refused_as_a_loop() {
    expect_loop(2).await;
}

#[tokio::test]
async fn a_direct_call_over_ipv6_is_refused_as_a_loop() {
    expect_loop(3).await;
}
