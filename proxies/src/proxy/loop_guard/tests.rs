//! The guard's decisions, one sign and one innocent connection at a time.

use tokio::net::TcpStream;

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("literal address")
}

/// A client pod calls pod:9080 and was redirected to 15006.
fn inbound(peer: &str) -> Arrival {
    Arrival {
        transport: Transport::Tcp,
        step: Step::Relay(Direction::Inbound),
        peer: at(peer),
        local: at("10.77.1.2:15006"),
        dst: at("10.77.1.2:9080"),
    }
}

/// The app calls a service and was redirected to 15001.
fn outbound(peer: &str) -> Arrival {
    Arrival {
        transport: Transport::Tcp,
        step: Step::Relay(Direction::Outbound),
        peer: at(peer),
        local: at("127.0.0.1:15001"),
        dst: at("10.96.0.3:80"),
    }
}

fn sources() -> Vec<IpAddr> {
    vec![
        "127.0.0.6".parse().expect("literal"),
        "::6".parse().expect("literal"),
    ]
}

fn sidecar(tproxy_mark: Option<u32>) -> SidecarPorts {
    SidecarPorts {
        outbound: 15001,
        inbound: 15006,
        inbound_source: [sources()[0], sources()[1]],
        tproxy_mark,
        app_at_loopback: false,
    }
}

fn guard(tproxy_mark: Option<u32>) -> LoopGuard {
    let listeners = [at("0.0.0.0:15001"), at("0.0.0.0:15006")];
    LoopGuard::new(&listeners, Some(&sidecar(tproxy_mark)))
}

fn redirect() -> LoopGuard {
    guard(None)
}

fn verdict(arrival: Arrival, opened_by: Option<Step>) -> Option<Evidence> {
    judge(&arrival, opened_by, false, &sources())
}

#[test]
fn a_client_pod_is_served() {
    assert_eq!(verdict(inbound("10.77.2.2:40000"), None), None);
}

#[test]
fn the_app_is_served() {
    assert_eq!(verdict(outbound("10.77.1.2:40000"), None), None);
}

#[test]
fn a_call_of_the_process_itself_arrives_inbound_and_is_served() {
    assert_eq!(verdict(inbound("10.77.1.2:40000"), None), None);
}

#[test]
fn an_outbound_upstream_to_the_own_pod_address_is_served_inbound() {
    assert_eq!(
        verdict(
            inbound("10.77.1.2:40000"),
            Some(Step::Relay(Direction::Outbound))
        ),
        None
    );
}

#[test]
fn an_inbound_upstream_back_at_the_inbound_listener_is_a_loop() {
    let evidence = verdict(
        inbound("10.77.1.2:40000"),
        Some(Step::Relay(Direction::Inbound)),
    )
    .expect("a loop");
    assert_eq!(
        evidence.to_string(),
        "peer 10.77.1.2:40000 is this proxy's own open inbound upstream, back at its inbound listener"
    );
}

#[test]
fn an_outbound_upstream_back_at_the_outbound_listener_is_a_loop() {
    let evidence = verdict(
        outbound("10.77.1.2:40000"),
        Some(Step::Relay(Direction::Outbound)),
    )
    .expect("a loop");
    assert_eq!(
        evidence.to_string(),
        "peer 10.77.1.2:40000 is this proxy's own open outbound upstream, back at its outbound listener"
    );
}

#[test]
fn an_inbound_upstream_at_the_outbound_listener_would_close_a_loop_of_two_steps() {
    let evidence = verdict(
        outbound("127.0.0.6:40000"),
        Some(Step::Relay(Direction::Inbound)),
    );
    assert!(
        matches!(
            evidence,
            Some(Evidence::Upstream {
                opened_by: Step::Relay(Direction::Inbound),
                ..
            })
        ),
        "{evidence:?}"
    );
}

#[test]
fn the_inbound_source_at_the_inbound_listener_is_a_loop() {
    let evidence = verdict(inbound("127.0.0.6:40000"), None);
    assert_eq!(evidence, Some(Evidence::Source(at("127.0.0.6:40000"))));
}

#[test]
fn the_inbound_source_at_the_outbound_listener_is_not_a_sign() {
    assert_eq!(verdict(outbound("127.0.0.6:40000"), None), None);
}

#[test]
fn an_own_listener_as_destination_is_a_loop() {
    let mut arrival = inbound("10.77.2.2:40000");
    arrival.dst = at("10.77.1.2:15001");
    let evidence = judge(&arrival, None, true, &sources()).expect("a loop");
    assert_eq!(
        evidence.to_string(),
        "original destination 10.77.1.2:15001 is this proxy's own listener"
    );
}

#[test]
fn a_direct_connection_without_conntrack_is_a_loop() {
    let mut arrival = inbound("10.77.2.2:40000");
    arrival.dst = arrival.local;
    assert_eq!(
        redirect().check(&arrival),
        Some(Evidence::Listener(arrival.local))
    );
}

#[test]
fn a_gateway_serves_connections_to_its_own_address() {
    let local = at("10.77.9.2:8080");
    let arrival = Arrival {
        transport: Transport::Tcp,
        step: Step::Relay(Direction::Gateway),
        peer: at("10.77.2.2:40000"),
        local,
        dst: local,
    };
    assert_eq!(redirect().check(&arrival), None);
}

#[test]
fn a_gateway_whose_endpoint_is_itself_is_a_loop() {
    let local = at("10.77.9.2:8080");
    let arrival = Arrival {
        transport: Transport::Tcp,
        step: Step::Relay(Direction::Gateway),
        peer: at("10.77.9.2:40000"),
        local,
        dst: local,
    };
    assert!(verdict(arrival, Some(Step::Relay(Direction::Gateway))).is_some());
}

#[test]
fn own_ports_of_another_host_are_no_loop() {
    let guard = redirect();
    let mut arrival = outbound("10.77.1.2:40000");
    arrival.dst = at("192.0.2.1:15006");
    assert_eq!(guard.check(&arrival), None);
}

#[test]
fn own_ports_on_any_loopback_address_are_a_loop() {
    let guard = redirect();
    let mut arrival = inbound("127.0.0.1:40000");
    arrival.dst = at("127.9.9.9:15001");
    assert_eq!(guard.check(&arrival), Some(Evidence::Listener(arrival.dst)));
}

#[tokio::test]
async fn an_upstream_is_in_the_books_from_its_start_until_its_entry_is_dropped() {
    let app = crate::listen::bind(at("127.0.0.1:0")).expect("bind");
    let guard = LoopGuard::new(&[], None);
    let (dial, entry) =
        guard.open::<TcpStream>(Step::Relay(Direction::Inbound), Way::to(app.address));
    let peer = dial.local().expect("started");
    let arrival = Arrival {
        transport: Transport::Tcp,
        step: Step::Relay(Direction::Inbound),
        peer,
        local: at("127.0.0.1:15006"),
        dst: app.address,
    };
    assert!(guard.check(&arrival).is_some());
    drop((dial, entry));
    assert_eq!(guard.check(&arrival), None);
}

#[tokio::test]
async fn a_local_port_shared_with_another_destination_is_not_taken_for_ours() {
    let app = crate::listen::bind(at("127.0.0.1:0")).expect("bind");
    let guard = LoopGuard::new(&[], None);
    let (dial, _entry) =
        guard.open::<TcpStream>(Step::Relay(Direction::Outbound), Way::to(app.address));
    let mut arrival = outbound("10.77.1.2:1");
    arrival.peer = dial.local().expect("started");
    assert_eq!(guard.check(&arrival), None);
}

/// A client pod calls pod:9080, and TPROXY hands it over as it is.
fn untranslated(peer: &str) -> Arrival {
    Arrival {
        local: at("10.77.1.2:9080"),
        ..inbound(peer)
    }
}

#[test]
fn a_connection_that_arrives_untranslated_is_what_tproxy_is_for_and_a_loop_without() {
    let arrival = untranslated("10.77.2.2:40000");
    assert_eq!(guard(Some(1337)).check(&arrival), None);
    let evidence = Evidence::Listener(arrival.dst);
    assert_eq!(redirect().check(&arrival), Some(evidence));
}

#[test]
fn a_direct_connection_to_a_transparent_listener_is_a_loop() {
    let mut arrival = untranslated("10.77.2.2:40000");
    arrival.dst = at("10.77.1.2:15006");
    arrival.local = arrival.dst;
    let evidence = Evidence::Listener(arrival.dst);
    assert_eq!(guard(Some(1337)).check(&arrival), Some(evidence));
}

/// Marked 1338, it is let to the inbound listener: by TPROXY for a proxy as root, by REDIRECT for one as 1337.
#[test]
fn a_call_of_the_proxy_itself_is_served_by_a_transparent_listener() {
    let guard = guard(Some(1337));
    assert_eq!(guard.check(&untranslated("10.77.1.2:40000")), None);
    assert_eq!(guard.check(&inbound("10.77.1.2:40000")), None);
}

#[test]
fn in_tproxy_mode_the_inbound_source_of_redirect_mode_is_not_a_sign() {
    let arrival = untranslated("127.0.0.6:40000");
    assert_eq!(guard(Some(1337)).check(&arrival), None);
}

#[test]
fn an_inbound_upstream_with_its_clients_address_back_at_a_transparent_listener_is_a_loop() {
    let arrival = untranslated("10.77.2.2:40001");
    let guard = guard(Some(1337));
    let ends = Ends::new(Transport::Tcp, arrival.peer, arrival.dst);
    let inbound = Step::Relay(Direction::Inbound);
    lock(&guard.open).insert(ends, inbound);
    let evidence = Evidence::Upstream {
        peer: arrival.peer,
        opened_by: inbound,
        arrived_at: inbound,
    };
    assert_eq!(guard.check(&arrival), Some(evidence));
}
