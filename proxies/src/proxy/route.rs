//! Where an accepted connection goes on to: a decision from configuration and addresses alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use crate::wire::{GatewayRoute, ProxyConfig, ServiceRoute};

use super::Direction;

/// Routes that make no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RouteError {
    #[error("gateway on port {port}: no service is called {service:?}")]
    UnknownService { port: u16, service: String },
    #[error("inbound source: {0} and {1} are of one family, one of each is needed")]
    SameFamily(IpAddr, IpAddr),
}

/// Where to connect, and from which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) remote: SocketAddr,
    /// Source address to bind; none leaves the choice to the kernel.
    pub(super) bind: Option<IpAddr>,
}

/// No upstream for a connection, in words.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum NoUpstream {
    #[error("service {0} has no endpoints")]
    NoEndpoints(String),
    #[error("service {0} has no route for this address family")]
    NoFamily(String),
}

/// Routes of one proxy, with the turn of each service route.
pub(super) struct Routes {
    services: Vec<(ServiceRoute, AtomicUsize)>,
    gateway: Option<GatewayRoute>,
    inbound_source: Vec<IpAddr>,
}

impl Routes {
    /// Takes the routes from the configuration and checks them.
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, RouteError> {
        if let Some(GatewayRoute { port, service }) = &config.gateway
            && !config
                .services
                .iter()
                .any(|route| route.service == *service)
        {
            return Err(RouteError::UnknownService {
                port: *port,
                service: service.clone(),
            });
        }
        if let Some([a, b]) = config
            .sidecar
            .as_ref()
            .map(|sidecar| sidecar.inbound_source)
            && a.is_ipv4() == b.is_ipv4()
        {
            return Err(RouteError::SameFamily(a, b));
        }
        Ok(Self {
            services: config
                .services
                .iter()
                .map(|route| (route.clone(), AtomicUsize::new(0)))
                .collect(),
            gateway: config.gateway.clone(),
            inbound_source: config
                .sidecar
                .as_ref()
                .map_or_else(Vec::new, |sidecar| sidecar.inbound_source.to_vec()),
        })
    }

    /// Upstream of a connection whose destination before translation is `dst`. Takes the service's next endpoint.
    pub(super) fn upstream(
        &self,
        direction: Direction,
        dst: SocketAddr,
    ) -> Result<Upstream, NoUpstream> {
        match direction {
            Direction::Inbound => Ok(Upstream {
                remote: dst,
                bind: self.source_for(dst),
            }),
            Direction::Outbound => match self.services.iter().find(|(route, _)| route.vip == dst) {
                Some(service) => next_endpoint(service),
                None => Ok(Upstream {
                    remote: dst,
                    bind: None,
                }),
            },
            Direction::Gateway => {
                let name = self.gateway.as_ref().map_or("", |gateway| &gateway.service);
                let service = self
                    .services
                    .iter()
                    .find(|(route, _)| {
                        route.service == name && route.vip.is_ipv4() == dst.is_ipv4()
                    })
                    .ok_or_else(|| NoUpstream::NoFamily(name.to_owned()))?;
                next_endpoint(service)
            }
        }
    }

    /// Source address of the family of `dst`; an unspecified one (`0.0.0.0`, `::`) means not to bind.
    fn source_for(&self, dst: SocketAddr) -> Option<IpAddr> {
        self.inbound_source
            .iter()
            .copied()
            .find(|ip| ip.is_ipv4() == dst.is_ipv4() && !ip.is_unspecified())
    }
}

fn next_endpoint((route, turn): &(ServiceRoute, AtomicUsize)) -> Result<Upstream, NoUpstream> {
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    let position = turn.checked_rem(route.endpoints.len());
    let remote = position
        .map(|at| route.endpoints[at])
        .ok_or_else(|| NoUpstream::NoEndpoints(route.service.clone()))?;
    Ok(Upstream { remote, bind: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SidecarPorts;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("literal address")
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
            }),
            gateway: Some(GatewayRoute {
                port: 8080,
                service: "reviews".to_owned(),
            }),
            health_ports: vec![15021],
            metrics_port: 15090,
            admin_port: 15000,
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
                    .upstream(direction, at(dst))
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
        let upstream = routes().upstream(Direction::Outbound, at("10.96.0.3:80"));
        assert_eq!(
            upstream,
            Ok(Upstream {
                remote: at("10.96.0.3:80"),
                bind: None
            })
        );
    }

    #[test]
    fn an_inbound_connection_goes_to_its_destination_from_the_source_of_its_family() {
        let upstream = routes().upstream(Direction::Inbound, at("[fd77:1::2]:9080"));
        let source: IpAddr = "::6".parse().expect("literal");
        assert_eq!(
            upstream,
            Ok(Upstream {
                remote: at("[fd77:1::2]:9080"),
                bind: Some(source)
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
            .upstream(Direction::Inbound, at("10.77.1.2:9080"))
            .expect("an upstream");
        assert_eq!(upstream.bind, None);
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
        let upstream = routes.upstream(Direction::Outbound, at("10.96.0.3:9080"));
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
}
