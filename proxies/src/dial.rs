//! Opening a connection in two steps: start it, which fixes the local address, then wait for the handshake.
//!
//! The steps are apart so that the loop guard can note the local address before anybody can accept the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::errno::errno_name;
use crate::log::ConnectEvent;
use crate::record::{ConnectResult, Owner};
use crate::socket_facts::{comparable, owner, process_owner};

/// A connection that was started, or failed to start.
pub(crate) struct Dial {
    remote: SocketAddr,
    bound: Option<IpAddr>,
    owner: Owner,
    started: io::Result<Started>,
}

struct Started {
    stream: TcpStream,
    local: SocketAddr,
}

impl Dial {
    /// Starts to connect to `remote`, from `bound` if given. Never blocks. Must run inside the runtime.
    pub(crate) fn start(remote: SocketAddr, bound: Option<IpAddr>) -> Self {
        // Without a socket there is no owner to read; the one it would have had is the process's.
        let mut seen_owner = process_owner();
        let started = start(remote, bound, &mut seen_owner);
        Self {
            remote,
            bound,
            owner: seen_owner,
            started,
        }
    }

    /// Local end, if the connection got as far as having one.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.started.as_ref().ok().map(|started| started.local)
    }

    /// Waits for the handshake, at most `limit`. Gives the stream, or the error, and what to log in either case.
    pub(crate) async fn finish(
        self,
        parent: Option<u64>,
        limit: Duration,
    ) -> (io::Result<TcpStream>, ConnectEvent) {
        let Self {
            remote,
            bound,
            owner,
            started,
        } = self;
        let connected = match started {
            Ok(started) => match tokio::time::timeout(limit, established(&started.stream)).await {
                Ok(Ok(())) => Ok(started),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            Err(error) => Err(error),
        };
        let result = match &connected {
            Ok(Started { stream, local }) => {
                // getpeername(2) fails when a reset already followed the handshake; the answer is known anyway.
                let remote = stream.peer_addr().map_or(remote, comparable);
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
            parent,
            remote,
            bound,
            owner,
            result,
        };
        (connected.map(|started| started.stream), event)
    }
}

fn start(remote: SocketAddr, bound: Option<IpAddr>, seen_owner: &mut Owner) -> io::Result<Started> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    *seen_owner = owner(&socket)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(address) = bound {
        // Let connect(2) choose the port: it then needs to be unique per destination only, not per source address.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into())?;
    let local = comparable(stream.local_addr()?);
    Ok(Started { stream, local })
}

async fn established(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}
