//! Who listens on a port of a pod.

use hoplab_proxies::record::Role;

use crate::{
    ports,
    topology::{Pod, Proxy},
};

/// A listener of a lab's own app or proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The app.
    App,
    /// 15001.
    Outbound,
    /// 15006.
    Inbound,
    /// A gateway's own port.
    Gateway,
    /// 15020, 15021, 15090: answered by the proxy itself.
    Proxy,
    /// 15000, on loopback.
    Admin,
}

impl Listener {
    /// Role of the process behind it.
    pub fn role(self) -> Role {
        match self {
            Self::App => Role::App,
            _ => Role::Proxy,
        }
    }
}

/// The listener at a port of a pod; `loopback` tells whether it is reached by a loopback address.
pub fn listener_at(pod: &Pod, port: u16, loopback: bool) -> Option<Listener> {
    if pod.app.as_ref().is_some_and(|app| app.port == port) {
        return Some(Listener::App);
    }
    let proxy = pod.proxy.as_ref()?;
    match (port, proxy) {
        (ports::OUTBOUND, Proxy::Sidecar { .. }) => Some(Listener::Outbound),
        (ports::INBOUND, Proxy::Sidecar { .. }) => Some(Listener::Inbound),
        (port, Proxy::Gateway { port: own, .. }) if port == *own => Some(Listener::Gateway),
        (ports::AGENT | ports::READINESS | ports::METRICS, _) => Some(Listener::Proxy),
        (ports::ADMIN, _) if loopback => Some(Listener::Admin),
        _ => None,
    }
}
