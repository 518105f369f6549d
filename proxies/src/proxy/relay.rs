//! Carries bytes between two connections until both directions are over.
//!
//! Half-close: the end of one direction is passed on by shutdown(2), the other goes on. Back-pressure: each direction
//! holds one buffer and reads again only when it is written out. Reset: a reset of one side becomes a reset of the other.

use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::time::Duration;

use nix::errno::Errno;
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::counted_io::Traffic;

/// Bytes held per direction.
const BUFFER: usize = 16 * 1024;

/// Time to deliver what a side had sent before it reset; the receiver may be slow.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One of the two connections.
#[derive(Clone, Copy)]
pub(super) struct Leg<'a> {
    pub(super) side: Side,
    pub(super) stream: &'a TcpStream,
    pub(super) traffic: &'a Traffic,
}

/// Which of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// How a relayed pair ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Both directions ended in order.
    Done,
    /// One side failed, mostly by a reset; the other is set to be reset when its socket is closed.
    Broken(Broken),
}

/// The side that failed, and its error.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) side: Side,
    pub(super) error: io::Error,
}

/// Relays until both directions are over. Each leg counts its own bytes; the counters count what was passed on.
pub(super) async fn relay(
    client: Leg<'_>,
    upstream: Leg<'_>,
    from_client: &Counter,
    to_client: &Counter,
) -> Ending {
    let mut forth = pin!(pump(client, upstream, from_client));
    let mut back = pin!(pump(upstream, client, to_client));
    let (mut forth_over, mut back_over) = (false, false);
    let mut broken = loop {
        if forth_over && back_over {
            return Ending::Done;
        }
        let ended = tokio::select! {
            biased;
            ended = &mut forth, if !forth_over => { forth_over = true; ended }
            ended = &mut back, if !back_over => { back_over = true; ended }
            // A pump that waits for its other side does not look at this one: watch for resets apart from it.
            side = reset_seen(client, upstream) => {
                Err(Broken { side, error: Errno::ECONNRESET.into() })
            }
        };
        if let Err(broken) = ended {
            break broken;
        }
    };
    // What the failed side said before it failed may still be on its way.
    let last_words = match broken.side {
        Side::Client => (!forth_over).then_some(forth),
        Side::Upstream => (!back_over).then_some(back),
    };
    if let Some(pump) = last_words
        && let Ok(Err(later)) = timeout(LAST_WORDS, pump).await
        && later.side == broken.side
    {
        broken = later;
    }
    let survivor = if broken.side == Side::Client {
        upstream
    } else {
        client
    };
    // Zero linger: close(2) sends a reset. Fails only on a connection that is gone already.
    let _ = SockRef::from(survivor.stream).set_linger(Some(Duration::ZERO));
    Ending::Broken(broken)
}

/// Carries one direction to its end and passes the end on.
async fn pump(from: Leg<'_>, to: Leg<'_>, moved: &Counter) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = read(from.stream, &mut buffer)
            .await
            .map_err(|error| Broken {
                side: from.side,
                error,
            })?;
        if length == 0 {
            return SockRef::from(to.stream)
                .shutdown(Shutdown::Write)
                .map_err(|error| Broken {
                    side: to.side,
                    error,
                });
        }
        from.traffic.add_received(length);
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = write(to.stream, rest).await.map_err(|error| Broken {
                side: to.side,
                error,
            })?;
            to.traffic.add_sent(written);
            moved.inc_by(written as u64);
            rest = &rest[written..];
        }
        // Two fast ends would otherwise keep the thread from everybody else.
        consume_budget().await;
    }
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            result => return result,
        }
    }
}

async fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            result => return result,
        }
    }
}

/// Resolves when the kernel reports an error on one of the sides, without taking the error from its socket.
async fn reset_seen(client: Leg<'_>, upstream: Leg<'_>) -> Side {
    tokio::select! {
        _ = client.stream.ready(Interest::ERROR) => Side::Client,
        _ = upstream.stream.ready(Interest::ERROR) => Side::Upstream,
    }
}

#[cfg(test)]
mod tests;
