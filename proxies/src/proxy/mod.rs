//! The stub proxy: interception or gateway listeners, health, metrics and admin.

mod admin;
mod dns;
mod forward;
mod health;
mod loop_guard;
mod metrics;
mod privilege;
mod relay;
mod route;
mod site;

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use crate::accept::accept_loop;
use crate::dns::server;
use crate::listen::{self, BindError, Listener};
use crate::log::Log;
use crate::log_level::LogLevel;
use crate::wire::ProxyConfig;

use dns::{DnsProxyError, Resolver};
use forward::Forwarder;
use loop_guard::LoopGuard;
use metrics::Metrics;
use privilege::NoPrivilege;
pub(crate) use route::{RouteError, Routes};
use site::{Answering, Site};

/// A proxy that could not start.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Dns(#[from] DnsProxyError),
    #[error(transparent)]
    Privilege(#[from] NoPrivilege),
}

/// What the log says of a connection to the tunnel port.
const NO_TUNNEL: &str = "no HBONE here";

/// Name of the DNS listener in metrics and messages.
const DNS: &str = "dns";

/// Which way a relayed connection goes, as seen from the pod.
///
/// The order is that of the only legitimate path a connection may take through one proxy; see [`loop_guard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Direction {
    /// Into the mesh, through a gateway's plain listener.
    Gateway,
    /// From the pod's app to elsewhere: 15001.
    Outbound,
    /// From elsewhere to the pod's app: 15006.
    Inbound,
}

impl Direction {
    /// Name of its listener in metrics and messages.
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Its connections are passed on as bytes.
    Relay(Direction),
    /// The proxy itself answers.
    Http(Site),
    /// HBONE, which nobody here speaks.
    Tunnel,
}

impl Purpose {
    /// Name of the listener in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Relay(direction) => direction.name(),
            Self::Http(Site::Health(_)) => "health",
            Self::Http(Site::Metrics) => "metrics",
            Self::Http(Site::Admin) => "admin",
            Self::Tunnel => "tunnel",
        }
    }
}

/// A proxy whose listeners are bound.
pub(crate) struct Proxy {
    config: ProxyConfig,
    routes: Routes,
    listeners: Vec<(Purpose, Listener)>,
    dns: Option<dns::Bound>,
}

/// Checks the routes and binds every listener.
pub(crate) fn bind(config: ProxyConfig) -> Result<Proxy, ProxyError> {
    let routes = Routes::new(&config)?;
    privilege::check(&config)?;
    let mut listeners = Vec::new();
    let mut add = |purpose: Purpose, bound: Vec<Listener>| {
        listeners.extend(bound.into_iter().map(|listener| (purpose, listener)));
    };
    if let Some(sidecar) = &config.sidecar {
        add(
            Purpose::Relay(Direction::Outbound),
            listen::bind_any(sidecar.outbound)?,
        );
        let inbound = if sidecar.tproxy_mark.is_some() {
            listen::bind_any_transparent(sidecar.inbound)?
        } else {
            listen::bind_any(sidecar.inbound)?
        };
        add(Purpose::Relay(Direction::Inbound), inbound);
    }
    if let Some(gateway) = &config.gateway {
        add(
            Purpose::Relay(Direction::Gateway),
            listen::bind_any(gateway.port)?,
        );
    }
    for port in &config.health_ports {
        add(Purpose::Http(Site::Health(*port)), listen::bind_any(*port)?);
    }
    if let Some(port) = config.metrics_port {
        add(Purpose::Http(Site::Metrics), listen::bind_any(port)?);
    }
    if let Some(port) = config.admin_port {
        // Loopback only: the admin port changes the process.
        add(Purpose::Http(Site::Admin), listen::bind_loopback(port)?);
    }
    if let Some(port) = config.tunnel_port {
        add(Purpose::Tunnel, listen::bind_any(port)?);
    }
    let dns = config.dns.as_ref().map(dns::bind).transpose()?;
    Ok(Proxy {
        config,
        routes,
        listeners,
        dns,
    })
}

impl Proxy {
    /// Every address it listens on.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.listeners.iter().map(|(_, listener)| listener.address);
        let dns = self.dns.iter().flat_map(|dns| dns.sockets.addresses());
        listeners.chain(dns)
    }

    /// Serves on every listener in the background, by routes that can be renewed.
    pub(crate) fn serve(self, log: &Log, level: &LogLevel) -> Arc<Routes> {
        let intercepting: Vec<SocketAddr> = self
            .listeners
            .iter()
            .filter(|(purpose, _)| {
                matches!(
                    purpose,
                    Purpose::Relay(Direction::Inbound | Direction::Outbound)
                )
            })
            .map(|(_, listener)| listener.address)
            .collect();
        let names = self.listeners.iter().map(|(purpose, _)| purpose.name());
        let metrics = Metrics::new(names.chain(self.dns.iter().map(|_| DNS)));
        let guard = Arc::new(LoopGuard::new(&intercepting, self.config.sidecar.as_ref()));
        let places = Arc::new(Semaphore::new(
            self.config.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        if let Some(dns) = self.dns {
            let resolver = Resolver {
                names: dns.names,
                upstream: dns.upstream,
                mark: self.config.upstream_mark,
                guard: Arc::clone(&guard),
                metrics: metrics.listener(DNS),
                log: log.clone(),
            };
            server::serve(dns.sockets, log, &places, &Arc::new(resolver));
        }
        let routes = Arc::new(self.routes);
        let forwarder = Arc::new(Forwarder {
            guard,
            routes: Arc::clone(&routes),
            log: log.clone(),
            places,
        });
        for (purpose, listener) in self.listeners {
            let counters = metrics.listener(purpose.name());
            match purpose {
                Purpose::Relay(direction) => {
                    let forwarder = Arc::clone(&forwarder);
                    tokio::spawn(accept_loop(listener, log.clone(), move |accepted| {
                        Arc::clone(&forwarder).take(direction, &counters, accepted);
                    }));
                }
                Purpose::Tunnel => {
                    let forwarder = Arc::clone(&forwarder);
                    tokio::spawn(accept_loop(listener, log.clone(), move |accepted| {
                        let forwarder = Arc::clone(&forwarder);
                        tokio::spawn(forwarder.turn_away(accepted, NO_TUNNEL));
                    }));
                }
                Purpose::Http(site) => {
                    let answering = Arc::new(Answering {
                        site,
                        metrics: metrics.clone(),
                        level: level.clone(),
                    });
                    let connection_log = log.clone();
                    tokio::spawn(accept_loop(listener, log.clone(), move |accepted| {
                        let (answering, log) = (Arc::clone(&answering), connection_log.clone());
                        tokio::spawn(answering.serve(counters.clone(), log, accepted));
                    }));
                }
            }
        }
        routes
    }
}
