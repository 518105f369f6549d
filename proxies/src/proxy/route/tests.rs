//! Where connections go on to, one rule at a time.

use rstest::rstest;

use super::*;
use crate::wire::SidecarPorts;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("literal address")
}

fn client() -> SocketAddr {
    at("10.77.2.2:40000")
}

fn config() -> ProxyConfig {
    let route = |vip: &str, endpoints: &[&str]| ServiceRoute {
        service: "reviews".to_owned(),
        vip: at(vip),
        endpoints: endpoints.iter().map(|text| at(text)).collect(),
    };
    ProxyConfig {
        sidecar: Some(SidecarPorts {
            outbound: 15001,
            inbound: 15006,
            inbound_source: [
                "127.0.0.6".parse().expect("literal"),
                "::6".parse().expect("literal"),
            ],
            tproxy_mark: None,
            app_at_loopback: false,
        }),
        gateway: Some(GatewayRoute {
            port: 8080,
            service: "reviews".to_owned(),
        }),
        health_ports: vec![15021],
        metrics_port: Some(15090),
        admin_port: Some(15000),
        tunnel_port: None,
        dns: None,
        upstream_mark: None,
        services: vec![
            route("10.96.0.3:9080", &["10.77.3.2:9080", "10.77.4.2:9080"]),
            route("[fd77::96:3]:9080", &["[fd77:3::2]:9080"]),
        ],
        max_connections: 10,
    }
}

fn routes() -> Routes {
    Routes::new(&config()).expect("valid routes")
}

fn remotes(routes: &Routes, direction: Direction, dst: &str, times: usize) -> Vec<SocketAddr> {
    (0..times)
        .map(|_| {
            routes
                .upstream(direction, client(), at(dst))
                .expect("an upstream")
                .remote
        })
        .collect()
}

#[test]
fn a_service_address_is_spread_over_its_endpoints_in_turn() {
    let seen = remotes(&routes(), Direction::Outbound, "10.96.0.3:9080", 3);
    assert_eq!(
        seen,
        [
            at("10.77.3.2:9080"),
            at("10.77.4.2:9080"),
            at("10.77.3.2:9080")
        ]
    );
}

#[test]
fn each_family_of_a_service_keeps_its_own_turn() {
    let routes = routes();
    remotes(&routes, Direction::Outbound, "[fd77::96:3]:9080", 1);
    assert_eq!(
        remotes(&routes, Direction::Outbound, "10.96.0.3:9080", 1),
        [at("10.77.3.2:9080")]
    );
}

#[test]
fn an_outbound_connection_to_anything_else_is_passed_through() {
    let upstream = routes().upstream(Direction::Outbound, client(), at("10.96.0.3:80"));
    assert_eq!(upstream, Ok(Way::to(at("10.96.0.3:80"))));
}

#[test]
fn an_inbound_connection_goes_to_its_destination_from_the_source_of_its_family() {
    let upstream = routes().upstream(Direction::Inbound, client(), at("[fd77:1::2]:9080"));
    let source: IpAddr = "::6".parse().expect("literal");
    assert_eq!(
        upstream,
        Ok(Way {
            source: Source::Own(source),
            ..Way::to(at("[fd77:1::2]:9080"))
        })
    );
}

#[test]
fn an_unspecified_inbound_source_means_not_to_bind() {
    let mut config = config();
    config.sidecar.as_mut().expect("a sidecar").inbound_source[0] =
        "0.0.0.0".parse().expect("literal");
    let routes = Routes::new(&config).expect("valid routes");
    let upstream = routes
        .upstream(Direction::Inbound, client(), at("10.77.1.2:9080"))
        .expect("an upstream");
    assert_eq!(upstream.source, Source::Kernel);
}

#[test]
fn in_tproxy_mode_an_inbound_connection_keeps_the_clients_address_and_is_marked() {
    let mut config = config();
    config.sidecar.as_mut().expect("a sidecar").tproxy_mark = Some(1337);
    config.upstream_mark = Some(0x539);
    let routes = Routes::new(&config).expect("valid routes");
    let upstream = |direction, dst| routes.upstream(direction, client(), at(dst));
    let marked = |source, mark, dst| {
        Ok(Way {
            remote: at(dst),
            source,
            mark: Some(mark),
        })
    };
    assert_eq!(
        upstream(Direction::Inbound, "10.77.1.2:9080"),
        marked(Source::Client(client()), 1337, "10.77.1.2:9080")
    );
    assert_eq!(
        upstream(Direction::Outbound, "10.96.0.3:80"),
        marked(Source::Kernel, 0x539, "10.96.0.3:80")
    );
}

#[test]
fn a_gateway_takes_endpoints_of_its_clients_family() {
    let seen = remotes(&routes(), Direction::Gateway, "[fd77:9::2]:8080", 2);
    assert_eq!(seen, [at("[fd77:3::2]:9080"), at("[fd77:3::2]:9080")]);
}

#[test]
fn a_service_without_endpoints_has_no_upstream() {
    let mut config = config();
    config.services[0].endpoints.clear();
    let routes = Routes::new(&config).expect("valid routes");
    let upstream = routes.upstream(Direction::Outbound, client(), at("10.96.0.3:9080"));
    assert_eq!(upstream, Err(NoUpstream::NoEndpoints("reviews".to_owned())));
}

#[test]
fn a_gateway_to_an_unknown_service_is_refused_at_start() {
    let mut config = config();
    config.gateway = Some(GatewayRoute {
        port: 8080,
        service: "revues".to_owned(),
    });
    let error = Routes::new(&config).err().expect("refused");
    assert_eq!(
        error.to_string(),
        r#"gateway on port 8080: no service is called "revues""#
    );
}

#[rstest]
#[case("10.77.1.2:9080", "127.0.0.1:9080")]
#[case("[fd77:1::2]:9080", "[::1]:9080")]
fn a_proxy_that_calls_its_app_at_loopback_keeps_the_port(#[case] dst: &str, #[case] remote: &str) {
    let mut config = config();
    let sidecar = config.sidecar.as_mut().expect("it is one");
    sidecar.app_at_loopback = true;
    let routes = Routes::new(&config).expect("valid routes");
    let way = routes.upstream(Direction::Inbound, client(), at(dst));
    assert_eq!(way, Ok(Way::to(at(remote))));
}

/// Connections go on meanwhile, and what stayed the same is not begun anew.
#[test]
fn a_service_that_stays_keeps_its_turn_when_routes_are_renewed() {
    const VIP: &str = "10.96.0.3:9080";
    let (routes, mut services) = (routes(), config().services);
    let next = |routes: &Routes| remotes(routes, Direction::Outbound, VIP, 1);
    assert_eq!(next(&routes), [at("10.77.3.2:9080")]);
    routes.renew(services.clone()).expect("the same");
    assert_eq!(next(&routes), [at("10.77.4.2:9080")]);
    services[0].endpoints = vec![at("10.77.5.2:9080")];
    routes.renew(services).expect("routes");
    assert_eq!(next(&routes), [at("10.77.5.2:9080")]);
    assert!(
        routes.renew(Vec::new()).is_err(),
        "the gateway has a service"
    );
    assert_eq!(next(&routes), [at("10.77.5.2:9080")]);
}
