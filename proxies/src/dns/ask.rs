//! One query on a socket of its own, logged from connect to close. Sent once: a flow is one query.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::counted_io::Traffic;
use crate::dial::{Dial, Dialed};
use crate::errno::{errno_name, is_reset};
use crate::log::Log;
use crate::record::{CloseOutcome, Transport};

use super::tcp;

/// Longest UDP payload there is.
pub(super) const DATAGRAM: usize = 65_535;

/// A query on its way.
pub(crate) struct Ask<'a> {
    /// Accepted connection on whose behalf it is sent.
    pub(crate) parent: Option<u64>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) query: &'a [u8],
    /// Time for everything: connect, query, answer.
    pub(crate) limit: Duration,
}

/// No answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// Nobody is there: `connect(2)` failed, or ICMP said so of the datagram; symbolic errno.
    #[error("{0}")]
    Unreachable(String),
    /// It ended before an answer, or with one that can't be read.
    #[error("{0}")]
    Ended(String),
    #[error("timeout")]
    Timeout,
}

/// A socket that carries queries to a server and answers back.
pub(crate) trait Carrier: Dialed {
    /// What an error of the socket means.
    fn error(error: &io::Error) -> AskError;
    fn send(
        &mut self,
        traffic: &Traffic,
        message: &[u8],
    ) -> impl Future<Output = io::Result<()>> + Send;
    /// The next message; nothing at the end of the connection.
    fn receive(
        &mut self,
        traffic: &Traffic,
    ) -> impl Future<Output = io::Result<Option<Vec<u8>>>> + Send;
}

impl Carrier for UdpSocket {
    fn error(error: &io::Error) -> AskError {
        AskError::Unreachable(errno_name(error))
    }

    async fn send(&mut self, traffic: &Traffic, message: &[u8]) -> io::Result<()> {
        traffic.add_sent(UdpSocket::send(self, message).await?);
        Ok(())
    }

    async fn receive(&mut self, traffic: &Traffic) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; DATAGRAM];
        let length = self.recv(&mut buffer).await?;
        traffic.add_received(length);
        buffer.truncate(length);
        Ok(Some(buffer))
    }
}

impl Carrier for TcpStream {
    fn error(error: &io::Error) -> AskError {
        AskError::Ended(if is_reset(error) {
            "ECONNRESET".to_owned()
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            ENDED.to_owned()
        } else {
            errno_name(error)
        })
    }

    async fn send(&mut self, traffic: &Traffic, message: &[u8]) -> io::Result<()> {
        tcp::write(self, traffic, message).await
    }

    async fn receive(&mut self, traffic: &Traffic) -> io::Result<Option<Vec<u8>>> {
        tcp::read(self, traffic).await
    }
}

/// The same words as of an HTTP call.
const ENDED: &str = "ended before an answer";

/// Sends the query and waits for a message of which `read` makes something; it gives nothing to skip a message.
///
/// When this returns, the connect and close records are with the writer; a connection that was never made has no close
/// record. `done` is called between the end of the socket and its close record.
pub(crate) async fn ask<S: Carrier, T, D>(
    log: &Log,
    dial: Dial<S>,
    ask: Ask<'_>,
    read: impl Fn(&[u8]) -> Result<Option<T>, String>,
    done: D,
) -> Result<T, AskError> {
    let deadline = Instant::now() + ask.limit;
    let conn = log.next_conn();
    let (socket, event) = dial.finish(ask.parent, ask.limit).await;
    let remote = event.remote;
    log.connect(conn, ask.request_id, event).await;
    let mut socket = socket.map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
            AskError::Timeout
        } else {
            AskError::Unreachable(errno_name(&error))
        }
    })?;
    let traffic = Traffic::default();
    let exchange = async {
        let failed = |error: io::Error| S::error(&error);
        socket.send(&traffic, ask.query).await.map_err(failed)?;
        loop {
            let Some(message) = socket.receive(&traffic).await.map_err(failed)? else {
                return Err(AskError::Ended(ENDED.to_owned()));
            };
            match read(&message) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {
                    tracing::warn!(conn, %remote, "a message that is no answer to the query")
                }
                Err(why) => return Err(AskError::Ended(format!("malformed answer: {why}"))),
            }
        }
    };
    let result = timeout_at(deadline, exchange)
        .await
        .unwrap_or(Err(AskError::Timeout));
    drop(socket);
    drop(done);
    let outcome = match &result {
        Ok(_) => CloseOutcome::Done,
        Err(AskError::Timeout) => CloseOutcome::Error("gave up waiting for an answer".to_owned()),
        Err(AskError::Ended(how)) if S::TRANSPORT == Transport::Tcp && how == "ECONNRESET" => {
            CloseOutcome::Reset
        }
        Err(error) => CloseOutcome::Error(error.to_string()),
    };
    tracing::debug!(conn, %remote, ?outcome, "query ended");
    log.close(conn, ask.request_id, &traffic, outcome).await;
    result
}
