//! The accept loop: takes connections from a listener, logs them and hands them on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::TcpStream;

use crate::errno::errno_name;
use crate::listen::Listener;
use crate::log::Log;
use crate::record::{Event, OriginalDst, Transport};
use crate::socket_facts::{comparable, original_dst, owner};

/// Pause after an accept that failed for want of a resource: long enough not to spin, short enough to recover.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection whose accept record is written.
pub(crate) struct Accepted {
    /// Number in the log.
    pub(crate) conn: u64,
    pub(crate) stream: TcpStream,
    /// Remote end as this process sees it.
    pub(crate) peer: SocketAddr,
    /// Local end, after any REDIRECT.
    pub(crate) local: SocketAddr,
    /// Destination before translation.
    pub(crate) original_dst: OriginalDst,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pause between attempts, and no wait for a state: the connection stays in the queue, so the socket stays \
              readable, and no event says that somebody else on the machine gave back descriptors or memory"
)]
async fn back_off() {
    tokio::time::sleep(PAUSE).await;
}

/// Accepts for ever and calls `serve`, which must not block, once the accept record is on its way.
pub(crate) async fn accept_loop(listener: Listener, log: Log, mut serve: impl FnMut(Accepted)) {
    loop {
        let arrived = match listener.socket.accept().await {
            Ok((stream, peer)) => log_accept(&listener, &log, stream, peer).await,
            Err(error) => Err(error),
        };
        match arrived {
            Ok(accepted) => serve(accepted),
            Err(error) => {
                tracing::warn!(listener = %listener.address, errno = errno_name(&error), "accept failed");
                if !concerns_one_connection(&error) {
                    back_off().await;
                }
            }
        }
    }
}

async fn log_accept(
    listener: &Listener,
    log: &Log,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<Accepted> {
    let peer = comparable(peer);
    let local = comparable(stream.local_addr()?);
    let original_dst = original_dst(&stream, local);
    let owner = owner(&stream)?;
    // Small requests and answers should not wait for Nagle; on a connection already reset this fails, harmlessly.
    let _ = stream.set_nodelay(true);
    let conn = log.next_conn();
    tracing::debug!(conn, listener = %listener.address, %peer, %local, ?original_dst, "accepted");
    let event = Event::Accept {
        transport: Transport::Tcp,
        listener: listener.address,
        peer,
        local,
        original_dst: original_dst.clone(),
        owner,
    };
    log.write(conn, None, event).await;
    Ok(Accepted {
        conn,
        stream,
        peer,
        local,
        original_dst,
    })
}

/// accept(2) also reports errors of the connection it was about to return; the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ECONNABORTED | Errno::EPROTO | Errno::ENOTCONN | Errno::ECONNRESET)
    )
}
