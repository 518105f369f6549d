//! Datagrams a listener takes: each is logged as a connection of its own and answered from the same socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::errno::errno_name;
use crate::listen::UdpListener;
use crate::log::Log;
use crate::record::{Event, OriginalDst, Transport};
use crate::socket_facts::{comparable, original_dst, owner};

use super::ask::DATAGRAM;

/// A datagram whose accept record is written.
pub(super) struct Datagram {
    /// Number in the log.
    pub(super) conn: u64,
    pub(super) peer: SocketAddr,
    /// Where it arrived, after any REDIRECT, and where the answer leaves from: the listener has a single address.
    pub(super) local: SocketAddr,
    pub(super) original_dst: OriginalDst,
    pub(super) bytes: Vec<u8>,
}

/// Takes datagrams for ever and calls `serve`, which must not block, once the accept record is on its way.
pub(super) async fn receive_loop(
    listener: Arc<UdpListener>,
    log: Log,
    mut serve: impl FnMut(Datagram),
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let arrived = match listener.socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => log_accept(&listener, &log, &buffer[..length], peer).await,
            Err(error) => Err(error),
        };
        match arrived {
            Ok(datagram) => serve(datagram),
            // An error of recvfrom(2) is of an earlier datagram and taken with it: the next call waits again.
            Err(error) => {
                tracing::warn!(listener = %listener.address, errno = errno_name(&error), "receive failed");
            }
        }
    }
}

async fn log_accept(
    listener: &UdpListener,
    log: &Log,
    bytes: &[u8],
    peer: SocketAddr,
) -> io::Result<Datagram> {
    let peer = comparable(peer);
    let local = comparable(listener.address);
    let owner = owner(&listener.socket)?;
    let original_dst = original_dst(&listener.socket, local);
    let conn = log.next_conn();
    tracing::debug!(conn, listener = %listener.address, %peer, "datagram");
    let event = Event::Accept {
        transport: Transport::Udp,
        listener: listener.address,
        peer,
        local,
        original_dst: original_dst.clone(),
        owner,
    };
    log.write(conn, None, event).await;
    Ok(Datagram {
        conn,
        peer,
        local,
        original_dst,
        bytes: bytes.to_vec(),
    })
}
