//! Listeners: one socket per family, so that every address in the log says which family it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};

use crate::dial::set_transparent;
use crate::errno::errno_name;
use crate::record::Transport;

/// Connections the kernel may hold for us; it clips this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Address it is bound to, with the port the kernel chose if 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
}

/// A bound UDP socket that answers whoever sends to it.
#[derive(Debug)]
pub(crate) struct UdpListener {
    /// Address it is bound to, with the port the kernel chose if 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) socket: UdpSocket,
}

/// A listener could not be made.
#[derive(Debug, Error)]
#[error("cannot listen on {}{address}: {}", udp_word(*.transport), errno_name(.source))]
pub(crate) struct BindError {
    transport: Transport,
    address: SocketAddr,
    source: io::Error,
}

fn udp_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "",
        Transport::Udp => "UDP ",
    }
}

/// Listens on `port` of every address, in both families.
pub(crate) fn bind_any(port: u16) -> Result<Vec<Listener>, BindError> {
    bind_families(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, port, bind)
}

/// Listens on `port` of every address, also of those that are not of this namespace: what TPROXY hands over arrives
/// untranslated. Needs CAP_NET_ADMIN.
pub(crate) fn bind_any_transparent(port: u16) -> Result<Vec<Listener>, BindError> {
    let bind = |address| bind_with(address, |socket| set_transparent(socket, address));
    bind_families(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, port, bind)
}

/// Listens on `port` of 127.0.0.1 and ::1.
pub(crate) fn bind_loopback(port: u16) -> Result<Vec<Listener>, BindError> {
    bind_families(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, port, bind)
}

/// Takes datagrams on `port` of 127.0.0.1 and ::1.
pub(crate) fn bind_loopback_udp(port: u16) -> Result<Vec<UdpListener>, BindError> {
    bind_families(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, port, bind_udp)
}

fn bind_families<L>(
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    port: u16,
    bind: impl Fn(SocketAddr) -> Result<L, BindError>,
) -> Result<Vec<L>, BindError> {
    let mut listeners = vec![bind(SocketAddr::new(v4.into(), port))?];
    match bind(SocketAddr::new(v6.into(), port)) {
        Ok(listener) => listeners.push(listener),
        Err(error) if has_no_ipv6(&error) => {
            tracing::warn!(%error, "no IPv6 here, serving IPv4 only")
        }
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

/// The kernel has no IPv6 (EAFNOSUPPORT), or this namespace has it switched off and therefore no ::1.
fn has_no_ipv6(error: &BindError) -> bool {
    match error.source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAFNOSUPPORT) => true,
        Some(Errno::EADDRNOTAVAIL) => error.address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => false,
    }
}

/// Listens on exactly `address`. Must run inside the runtime.
pub(crate) fn bind(address: SocketAddr) -> Result<Listener, BindError> {
    bind_with(address, |_| Ok(()))
}

fn bind_with(
    address: SocketAddr,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<Listener, BindError> {
    let open = || -> io::Result<Listener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        prepare(&socket)?;
        // A restarted stub must not fail on its predecessor's connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Listener {
            address: socket.local_addr()?,
            socket,
        })
    };
    open().map_err(|source| BindError {
        transport: Transport::Tcp,
        address,
        source,
    })
}

/// Takes datagrams on exactly `address`. Must run inside the runtime.
pub(crate) fn bind_udp(address: SocketAddr) -> Result<UdpListener, BindError> {
    let open = || -> io::Result<UdpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // No SO_REUSEADDR: over UDP it would let two sockets have the port, and the later one take all datagrams.
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(UdpListener {
            address: socket.local_addr()?,
            socket,
        })
    };
    open().map_err(|source| BindError {
        transport: Transport::Udp,
        address,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_are_bound_separately() {
        let listeners = bind_any(0).expect("bind");
        let families: Vec<bool> = listeners
            .iter()
            .map(|listener| listener.address.is_ipv4())
            .collect();
        assert_eq!(families, [true, false]);
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_errno() {
        let first = bind("127.0.0.1:0".parse().expect("literal")).expect("bind");
        let error = bind(first.address).expect_err("the port is taken");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {}: EADDRINUSE", first.address)
        );
    }
}
