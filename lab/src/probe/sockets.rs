//! Sockets of a probe: listeners in both namespaces, and one client for each flow, made as the user it is to be from.
//!
//! The owner that rules see is the one a socket was made with (`sk->sk_socket->file->f_cred->fsuid` in
//! net/netfilter/xt_owner.c), so a thread takes on the user for its file system ids alone, for one call, and keeps the
//! right to mark what it sends.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use nix::{
    sys::socket::{setsockopt, sockopt},
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use socket2::{Domain, Protocol as Transport, Socket, Type};

use super::ProbeError;
use crate::{
    behaviour::{Flow, Origin},
    rules::{Family, Protocol},
};

/// Connections that may wait at one listener.
const BACKLOG: i32 = 4096;

/// A socket that waits for flows.
pub(super) struct Listener {
    pub socket: Socket,
    pub protocol: Protocol,
    pub port: u16,
    pub family: Family,
}

/// Opens listeners at every address of the namespace the calling thread is in. They are transparent, as a proxy's has
/// to be that TPROXY hands packets to; to others that makes no difference.
pub(super) fn listen(family: Family, ports: &[u16]) -> Result<Vec<Listener>, ProbeError> {
    let mut listeners = Vec::new();
    for port in ports {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let what = format!("listen at {family} {protocol} port {port}");
            let socket = listener(family, protocol, *port).map_err(ProbeError::socket(what))?;
            listeners.push(Listener {
                socket,
                protocol,
                port: *port,
                family,
            });
        }
    }
    Ok(listeners)
}

fn listener(family: Family, protocol: Protocol, port: u16) -> io::Result<Socket> {
    let socket = socket(family, protocol)?;
    transparent(&socket, family)?;
    // A flow may come from the port that its answer's proxy listens at.
    socket.set_reuse_address(protocol == Protocol::Udp)?;
    match (protocol, family) {
        (Protocol::Udp, Family::V4) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        (Protocol::Udp, Family::V6) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => {}
    }
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, port).into())?;
    if protocol == Protocol::Tcp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn socket(family: Family, protocol: Protocol) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let (kind, transport) = match protocol {
        Protocol::Udp => (Type::DGRAM, Transport::UDP),
        _ => (Type::STREAM, Transport::TCP),
    };
    let socket = Socket::new(domain, kind, Some(transport))?;
    socket.set_nonblocking(true)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket that sends segments as they are given to it.
fn raw(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Transport::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn transparent(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => socket.set_ip_transparent_v4(true),
        Family::V6 => socket.set_ip_transparent_v6(true),
    }
}

/// Makes the socket of a flow in the namespace the calling thread is in, bound to its source.
pub(super) fn client(flow: &Flow, source_port: u16) -> Result<Socket, ProbeError> {
    let failed = |what: &str| ProbeError::socket(format!("{what} for {flow}"));
    let family = flow.family();
    let (uid, gid, mark) = match flow.origin {
        Origin::Outside { .. } => (0, 0, 0),
        Origin::Pod { uid, gid, mark } => (uid, gid, mark),
    };
    let made = as_user(uid, gid, || match flow.stray {
        true => raw(family),
        false => socket(family, flow.protocol),
    });
    let made = made.ok_or_else(|| ProbeError::Owner {
        flow: Box::new(flow.clone()),
        uid,
        gid,
    })?;
    let socket = made.map_err(failed("open a socket"))?;
    if mark != 0 {
        socket.set_mark(mark).map_err(failed("mark a socket"))?;
    }
    // A source that is not of this namespace: of a proxy that sends with its client's address, and of a machine
    // outside, which is any.
    transparent(&socket, family).map_err(failed("free the source of a socket"))?;
    // Flows from one port to several ends.
    let shared = flow.source_port.is_some();
    socket
        .set_reuse_address(shared)
        .map_err(failed("share the port of a socket"))?;
    let source = match flow.stray {
        // A raw socket has no port, and its segment has one.
        true => SocketAddr::new(flow.source, 0),
        false => SocketAddr::new(flow.source, source_port),
    };
    socket
        .bind(&source.into())
        .map_err(failed("bind a socket"))?;
    if shared && flow.protocol == Protocol::Udp {
        // Until it has its one peer it would take what others send to this port.
        socket
            .connect(&flow.to.into())
            .map_err(failed("connect a socket"))?;
    }
    Ok(socket)
}

/// Runs it with the file system ids of a user; none where these ids are not to be had. Other threads keep theirs.
fn as_user<T>(uid: u32, gid: u32, make: impl FnOnce() -> T) -> Option<T> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let (was_uid, was_gid) = (setfsuid(uid), setfsgid(gid));
    // The calls have no error; what they give is the id before them.
    let taken = setfsuid(uid) == uid && setfsgid(gid) == gid;
    let made = taken.then(make);
    setfsuid(was_uid);
    setfsgid(was_gid);
    made
}
