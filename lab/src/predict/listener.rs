//! Who listens at an address of a pod.

use std::net::SocketAddr;

use hoplab_proxies::record::{Role, Transport};

use crate::{
    interception::Interception,
    ports,
    topology::{Pod, ProcessRole, Proxy},
};

/// A listener of a lab's own processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The app.
    App,
    /// The sidecar's for what the app opens: 15001 unless the rules name another port.
    Outbound,
    /// The sidecar's for what comes to the pod: 15006 unless the rules name another port.
    Inbound,
    /// The sidecar's DNS proxy, on loopback, where DNS is captured.
    DnsProxy,
    /// A gateway's own port.
    Gateway,
    /// 15020, 15021, 15090: answered by the proxy itself.
    Proxy(u16),
    /// 15000, on loopback.
    Admin,
    /// ztunnel's 15008, for HBONE. Whoever speaks anything else there is turned away.
    Tunnel,
    /// The cluster's DNS server, in the node.
    DnsServer,
}

impl Listener {
    /// Role of the process behind it.
    pub fn role(self) -> Role {
        match self {
            Self::App => Role::App,
            Self::DnsServer => Role::Dns,
            _ => Role::Proxy,
        }
    }
}

/// The listener of a pod at an address, as a packet has it after all translation.
pub fn listener_at(
    pod: &Pod,
    at: SocketAddr,
    transport: Transport,
    interception: &Interception,
) -> Option<Listener> {
    let found = listener_of_running(pod, at, transport, interception)?;
    let process = match found.role() {
        Role::App => ProcessRole::App,
        _ => ProcessRole::Proxy,
    };
    (!pod.stopped.contains(&process)).then_some(found)
}

/// As [`listener_at`], with every process of the pod there.
fn listener_of_running(
    pod: &Pod,
    at: SocketAddr,
    transport: Transport,
    interception: &Interception,
) -> Option<Listener> {
    let (port, loopback) = (at.port(), at.ip().is_loopback());
    let sidecar = pod.is_sidecar();
    // The proxy listens for those behind the pod at its address, too.
    let for_dns = loopback || (pod.relays && pod.addr.contains(at.ip()));
    if sidecar && for_dns && interception.dns == Some(port) {
        return Some(Listener::DnsProxy);
    }
    if transport == Transport::Udp {
        return None;
    }
    if pod
        .app
        .as_ref()
        .is_some_and(|app| app.ports.contains(&port))
    {
        return Some(Listener::App);
    }
    match pod.proxy.as_ref()? {
        Proxy::Sidecar { .. } if port == interception.outbound => Some(Listener::Outbound),
        Proxy::Sidecar { .. } if port == interception.inbound => Some(Listener::Inbound),
        Proxy::Gateway { port: own, .. } if port == *own => Some(Listener::Gateway),
        // ztunnel has ports of its own in another pod.
        Proxy::Sidecar { .. } if interception.ztunnel.is_some() => {
            (port == ports::TUNNEL).then_some(Listener::Tunnel)
        }
        _ if matches!(port, ports::AGENT | ports::READINESS | ports::METRICS) => {
            Some(Listener::Proxy(port))
        }
        _ if port == ports::ADMIN && loopback => Some(Listener::Admin),
        _ => None,
    }
}
