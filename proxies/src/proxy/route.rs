//! Where an accepted connection goes on to: a decision from configuration and addresses alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use thiserror::Error;

use crate::dial::{Source, Way};
use crate::wire::{GatewayRoute, ProxyConfig, ServiceRoute, SidecarPorts};

use super::Direction;

/// Routes that make no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RouteError {
    #[error("gateway on port {port}: no service is called {service:?}")]
    UnknownService { port: u16, service: String },
    #[error("inbound source: {0} and {1} are of one family, one of each is needed")]
    SameFamily(IpAddr, IpAddr),
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
pub(crate) struct Routes {
    services: RwLock<Vec<(ServiceRoute, AtomicUsize)>>,
    gateway: Option<GatewayRoute>,
    inbound: Inbound,
    /// `SO_MARK` of every upstream without one of its own.
    mark: Option<u32>,
}

/// How inbound upstreams are opened.
enum Inbound {
    /// REDIRECT: from these addresses, one per family.
    From(Vec<IpAddr>),
    /// REDIRECT: to the loopback address of the family, from wherever the kernel picks.
    AtLoopback,
    /// TPROXY: from the client's address, with this mark.
    AsClient { mark: u32 },
}

impl Routes {
    /// Takes the routes from the configuration and checks them.
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, RouteError> {
        knows_its_service(config.gateway.as_ref(), &config.services)?;
        if let Some([a, b]) = config
            .sidecar
            .as_ref()
            .map(|sidecar| sidecar.inbound_source)
            && a.is_ipv4() == b.is_ipv4()
        {
            return Err(RouteError::SameFamily(a, b));
        }
        Ok(Self {
            services: RwLock::new(numbered(config.services.clone(), |_| 0)),
            gateway: config.gateway.clone(),
            inbound: match &config.sidecar {
                Some(SidecarPorts {
                    tproxy_mark: Some(mark),
                    ..
                }) => Inbound::AsClient { mark: *mark },
                Some(sidecar) if sidecar.app_at_loopback => Inbound::AtLoopback,
                Some(sidecar) => Inbound::From(sidecar.inbound_source.to_vec()),
                None => Inbound::From(Vec::new()),
            },
            mark: config.upstream_mark,
        })
    }

    /// Takes other services. One that stays as it was keeps its turn.
    pub(crate) fn renew(&self, services: Vec<ServiceRoute>) -> Result<(), RouteError> {
        knows_its_service(self.gateway.as_ref(), &services)?;
        let mut known = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = |route: &ServiceRoute| {
            let same = known.iter().find(|(known, _)| known == route);
            same.map_or(0, |(_, turn)| turn.load(Ordering::Relaxed))
        };
        *known = numbered(services, turn);
        Ok(())
    }

    /// Upstream of a client's connection whose destination before translation is `dst`. Takes the service's next
    /// endpoint.
    pub(super) fn upstream(
        &self,
        direction: Direction,
        client: SocketAddr,
        dst: SocketAddr,
    ) -> Result<Way, NoUpstream> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let way = match direction {
            Direction::Inbound => Ok(self.inbound(client, dst)),
            Direction::Outbound => match services.iter().find(|(route, _)| route.vip == dst) {
                Some(service) => next_endpoint(service),
                None => Ok(Way::to(dst)),
            },
            Direction::Gateway => {
                let name = self.gateway.as_ref().map_or("", |gateway| &gateway.service);
                let service = services
                    .iter()
                    .find(|(route, _)| {
                        route.service == name && route.vip.is_ipv4() == dst.is_ipv4()
                    })
                    .ok_or_else(|| NoUpstream::NoFamily(name.to_owned()))?;
                next_endpoint(service)
            }
        };
        way.map(|way| Way {
            mark: way.mark.or(self.mark),
            ..way
        })
    }

    fn inbound(&self, client: SocketAddr, dst: SocketAddr) -> Way {
        let (source, mark) = match &self.inbound {
            Inbound::AtLoopback => {
                let loopback: IpAddr = match dst.is_ipv4() {
                    true => Ipv4Addr::LOCALHOST.into(),
                    false => Ipv6Addr::LOCALHOST.into(),
                };
                return Way::to(SocketAddr::new(loopback, dst.port()));
            }
            Inbound::AsClient { mark } => (Source::Client(client), Some(*mark)),
            Inbound::From(sources) => {
                let same_family = sources.iter().find(|ip| ip.is_ipv4() == dst.is_ipv4());
                // An unspecified one (`0.0.0.0`, `::`) means not to bind.
                let source = same_family.filter(|ip| !ip.is_unspecified());
                (source.map_or(Source::Kernel, |ip| Source::Own(*ip)), None)
            }
        };
        Way {
            source,
            mark,
            ..Way::to(dst)
        }
    }
}

fn knows_its_service(
    gateway: Option<&GatewayRoute>,
    services: &[ServiceRoute],
) -> Result<(), RouteError> {
    match gateway {
        Some(gateway) if !services.iter().any(|it| it.service == gateway.service) => {
            Err(RouteError::UnknownService {
                port: gateway.port,
                service: gateway.service.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn numbered(
    services: Vec<ServiceRoute>,
    turn: impl Fn(&ServiceRoute) -> usize,
) -> Vec<(ServiceRoute, AtomicUsize)> {
    let numbered = services.into_iter().map(|route| {
        let turn = AtomicUsize::new(turn(&route));
        (route, turn)
    });
    numbered.collect()
}

fn next_endpoint((route, turn): &(ServiceRoute, AtomicUsize)) -> Result<Way, NoUpstream> {
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    let position = turn.checked_rem(route.endpoints.len());
    let remote = position
        .map(|at| route.endpoints[at])
        .ok_or_else(|| NoUpstream::NoEndpoints(route.service.clone()))?;
    Ok(Way::to(remote))
}

#[cfg(test)]
mod tests;
