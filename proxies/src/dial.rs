//! Opening a connection in two steps: start it, which fixes the local address, then wait for the handshake.
//!
//! The steps are apart so that the loop guard can note the local address before anybody can accept the connection.
//! Over UDP there is no handshake: connect(2) fixes both ends, and ICMP errors come back to the socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use crate::errno::errno_name;
use crate::log::ConnectEvent;
use crate::record::{ConnectResult, Owner, Transport};
use crate::socket_facts::{comparable, owner, process_owner};

/// Source address of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The kernel chooses.
    Kernel,
    /// The kernel chooses the address, and this is the port.
    Port(u16),
    /// An address of this namespace; 127.0.0.6 is one.
    Own(IpAddr),
    /// That of a client, which need not be an address of this namespace (IP_TRANSPARENT), with a port of our own.
    Client(SocketAddr),
}

impl Source {
    /// Address to bind.
    fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Kernel | Self::Port(_) => None,
            Self::Own(ip) => Some(ip),
            Self::Client(client) => Some(client.ip()),
        }
    }
}

/// Where to connect to, from where, and how its packets are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) remote: SocketAddr,
    pub(crate) source: Source,
    /// `SO_MARK`; none leaves the socket alone.
    pub(crate) mark: Option<u32>,
}

impl Way {
    /// To `remote`, with everything else left to the kernel.
    pub(crate) fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            source: Source::Kernel,
            mark: None,
        }
    }

    /// To `remote`, from a port if one is given.
    pub(crate) fn from_port(remote: SocketAddr, port: Option<u16>) -> Self {
        Self {
            source: port.map_or(Source::Kernel, Source::Port),
            ..Self::to(remote)
        }
    }
}

/// A socket that can be dialed.
pub(crate) trait Dialed: Sized {
    const TRANSPORT: Transport;
    const KIND: Type;
    const PROTOCOL: Protocol;

    /// Takes over a non-blocking socket. Must run inside the runtime.
    fn take(socket: Socket) -> io::Result<Self>;
    fn local(&self) -> io::Result<SocketAddr>;
    fn peer(&self) -> io::Result<SocketAddr>;
    /// Waits for the handshake.
    fn established(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Dialed for TcpStream {
    const TRANSPORT: Transport = Transport::Tcp;
    const KIND: Type = Type::STREAM;
    const PROTOCOL: Protocol = Protocol::TCP;

    fn take(socket: Socket) -> io::Result<Self> {
        socket.set_tcp_nodelay(true)?;
        Self::from_std(socket.into())
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    async fn established(&self) -> io::Result<()> {
        self.writable().await?;
        self.take_error()?.map_or(Ok(()), Err)
    }
}

impl Dialed for UdpSocket {
    const TRANSPORT: Transport = Transport::Udp;
    const KIND: Type = Type::DGRAM;
    const PROTOCOL: Protocol = Protocol::UDP;

    fn take(socket: Socket) -> io::Result<Self> {
        Self::from_std(socket.into())
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    async fn established(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that was started, or failed to start.
pub(crate) struct Dial<S> {
    way: Way,
    facts: Facts,
    started: io::Result<Started<S>>,
}

struct Started<S> {
    socket: S,
    local: SocketAddr,
}

/// What the kernel says of the socket, whatever becomes of its connection.
struct Facts {
    owner: Owner,
    mark: u32,
}

impl<S: Dialed> Dial<S> {
    /// Starts to connect. Never blocks. Must run inside the runtime.
    pub(crate) fn start(way: Way) -> Self {
        // Without a socket there is no owner to read; the one it would have had is the process's.
        let mut facts = Facts {
            owner: process_owner(),
            mark: 0,
        };
        let started = start(way, &mut facts);
        Self {
            way,
            facts,
            started,
        }
    }

    /// Local end, if the connection got as far as having one.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.started.as_ref().ok().map(|started| started.local)
    }

    /// Waits for the handshake, at most `limit`. Gives the socket, or the error, and what to log in either case.
    pub(crate) async fn finish(
        self,
        parent: Option<u64>,
        limit: Duration,
    ) -> (io::Result<S>, ConnectEvent) {
        let Self {
            way,
            facts,
            started,
        } = self;
        let connected = match started {
            Ok(started) => match tokio::time::timeout(limit, started.socket.established()).await {
                Ok(Ok(())) => Ok(started),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            Err(error) => Err(error),
        };
        let result = match &connected {
            Ok(Started { socket, local }) => {
                // getpeername(2) fails when a reset already followed the handshake; the answer is known anyway.
                let remote = socket.peer().map_or(way.remote, comparable);
                ConnectResult::Connected {
                    local: *local,
                    remote,
                }
            }
            Err(error) => ConnectResult::Failed {
                errno: errno_name(error),
            },
        };
        let event = ConnectEvent {
            transport: S::TRANSPORT,
            parent,
            remote: way.remote,
            bound: way.source.ip(),
            mark: facts.mark,
            owner: facts.owner,
            result,
        };
        (connected.map(|started| started.socket), event)
    }
}

fn start<S: Dialed>(way: Way, facts: &mut Facts) -> io::Result<Started<S>> {
    let socket = Socket::new(Domain::for_address(way.remote), S::KIND, Some(S::PROTOCOL))?;
    facts.owner = owner(&socket)?;
    socket.set_nonblocking(true)?;
    if let Some(mark) = way.mark {
        socket.set_mark(mark)?;
    }
    facts.mark = socket.mark()?;
    match way.source {
        Source::Kernel => {}
        Source::Port(port) => {
            // One connection after the other from the same port: the first may still be in TIME_WAIT.
            socket.set_reuse_address(true)?;
            let any: IpAddr = match way.remote {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SocketAddr::new(any, port).into())?;
        }
        Source::Own(address) => {
            // Let connect(2) choose the port: it then needs to be unique per destination only, not per source address.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(address, 0).into())?;
        }
        Source::Client(client) => bind_as_client(&socket, client)?,
    }
    match socket.connect(&way.remote.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        Err(error) => return Err(error),
    }
    let socket = S::take(socket)?;
    let local = comparable(socket.local()?);
    Ok(Started { socket, local })
}

/// Binds to a client's address and any port but the client's own.
///
/// From the client's port, the connection would have the very tuple of the one it is opened for, and conntrack knows only
/// one of a tuple. So that port is kept taken while bind(2), not connect(2), chooses another.
fn bind_as_client(socket: &Socket, client: SocketAddr) -> io::Result<()> {
    set_transparent(socket, client)?;
    let taken = Socket::new(Domain::for_address(client), Type::STREAM, None)?;
    set_transparent(&taken, client)?;
    match taken.bind(&client.into()) {
        Ok(()) => {}
        // The client is in this namespace: its socket keeps the port.
        Err(error) if error.raw_os_error() == Some(Errno::EADDRINUSE as i32) => {}
        Err(error) => return Err(error),
    }
    let mut address = client;
    address.set_port(0);
    socket.bind(&address.into())
}

/// Lets a socket have, or take connections to, addresses that are not of this namespace. Needs CAP_NET_ADMIN.
pub(crate) fn set_transparent(socket: &Socket, family: SocketAddr) -> io::Result<()> {
    match family {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}
