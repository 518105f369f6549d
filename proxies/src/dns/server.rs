//! A DNS server's sockets, UDP and TCP: takes queries, has them answered, logs both ends of every connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::accept::{Accepted, accept_loop};
use crate::counted_io::Traffic;
use crate::errno::{errno_name, is_reset};
use crate::listen::{Listener, UdpListener};
use crate::log::Log;
use crate::record::{CloseOutcome, Transport};

use super::response::{Arrival, Response};
use super::tcp;
use super::udp::{Datagram, receive_loop};

/// Bound sockets of a server.
pub(crate) struct Sockets {
    pub(crate) tcp: Vec<Listener>,
    pub(crate) udp: Vec<UdpListener>,
}

impl Sockets {
    /// Bound addresses. One that both transports are bound to is there twice.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let tcp = self.tcp.iter().map(|listener| listener.address);
        tcp.chain(self.udp.iter().map(|listener| listener.address))
    }
}

/// Who answers, and counts.
pub(crate) trait Responder: Send + Sync + 'static {
    /// Held while a connection is open.
    type Open: Send;

    fn opened(&self) -> Self::Open;
    fn over_limit(&self);
    /// A connection is over; its bytes.
    fn carried(&self, traffic: &Traffic);
    /// Answers one query, which may be any bytes.
    fn respond(&self, arrival: &Arrival, query: &[u8]) -> impl Future<Output = Response> + Send;
}

/// Serves on all sockets in the background. `places` bounds the connections served at once.
pub(crate) fn serve<R: Responder>(
    sockets: Sockets,
    log: &Log,
    places: &Arc<Semaphore>,
    responder: &Arc<R>,
) {
    let server = Arc::new(Server {
        log: log.clone(),
        places: Arc::clone(places),
        responder: Arc::clone(responder),
    });
    for listener in sockets.tcp {
        let server = Arc::clone(&server);
        tokio::spawn(accept_loop(listener, log.clone(), move |accepted| {
            Arc::clone(&server).take_stream(accepted);
        }));
    }
    for listener in sockets.udp {
        let listener = Arc::new(listener);
        let server = Arc::clone(&server);
        let answering = Arc::clone(&listener);
        tokio::spawn(receive_loop(listener, log.clone(), move |datagram| {
            Arc::clone(&server).take_datagram(Arc::clone(&answering), datagram);
        }));
    }
}

struct Server<R> {
    log: Log,
    places: Arc<Semaphore>,
    responder: Arc<R>,
}

impl<R: Responder> Server<R> {
    fn take_datagram(self: Arc<Self>, listener: Arc<UdpListener>, datagram: Datagram) {
        let open = self.responder.opened();
        let place = Arc::clone(&self.places).try_acquire_owned();
        tokio::spawn(async move {
            let traffic = Traffic::default();
            traffic.add_received(datagram.bytes.len());
            let conn = datagram.conn;
            let outcome = if place.is_ok() {
                self.answer_datagram(&listener, datagram, &traffic).await
            } else {
                self.turn_away(conn)
            };
            self.close(conn, &traffic, outcome).await;
            drop((place, open));
        });
    }

    async fn answer_datagram(
        &self,
        listener: &UdpListener,
        datagram: Datagram,
        traffic: &Traffic,
    ) -> CloseOutcome {
        let arrival = Arrival {
            conn: datagram.conn,
            transport: Transport::Udp,
            peer: datagram.peer,
            local: datagram.local,
            original_dst: datagram.original_dst,
        };
        let response = self.responder.respond(&arrival, &datagram.bytes).await;
        let Some(answer) = response.answer else {
            return response.outcome;
        };
        match listener.socket.send_to(&answer, datagram.peer).await {
            Ok(length) => {
                traffic.add_sent(length);
                response.outcome
            }
            Err(error) => CloseOutcome::Error(format!("answer not sent: {}", errno_name(&error))),
        }
    }

    fn take_stream(self: Arc<Self>, accepted: Accepted) {
        let open = self.responder.opened();
        let place = Arc::clone(&self.places).try_acquire_owned();
        tokio::spawn(async move {
            let traffic = Traffic::default();
            let conn = accepted.conn;
            let outcome = if place.is_ok() {
                self.answer_stream(accepted, &traffic).await
            } else {
                // Close first: a refusal must free what it is refused for.
                drop(accepted.stream);
                self.turn_away(conn)
            };
            self.close(conn, &traffic, outcome).await;
            drop((place, open));
        });
    }

    /// Answers one query after the other, until the client ends the connection. Gives the first outcome that is not
    /// plain success.
    async fn answer_stream(&self, accepted: Accepted, traffic: &Traffic) -> CloseOutcome {
        let mut stream = accepted.stream;
        let arrival = Arrival {
            conn: accepted.conn,
            transport: Transport::Tcp,
            peer: accepted.peer,
            local: accepted.local,
            original_dst: accepted.original_dst,
        };
        let mut outcome = CloseOutcome::Done;
        loop {
            let query = match tcp::read(&mut stream, traffic).await {
                Ok(Some(query)) => query,
                Ok(None) => return outcome,
                Err(error) => return first(outcome, ending(&error)),
            };
            let response = self.responder.respond(&arrival, &query).await;
            outcome = first(outcome, response.outcome);
            let Some(answer) = response.answer else {
                return outcome;
            };
            if let Err(error) = tcp::write(&mut stream, traffic, &answer).await {
                return first(outcome, ending(&error));
            }
        }
    }

    fn turn_away(&self, conn: u64) -> CloseOutcome {
        tracing::warn!(conn, listener = "dns", "too many connections");
        self.responder.over_limit();
        CloseOutcome::OverLimit
    }

    async fn close(&self, conn: u64, traffic: &Traffic, outcome: CloseOutcome) {
        tracing::debug!(conn, ?outcome, "closed");
        self.responder.carried(traffic);
        self.log.close(conn, None, traffic, outcome).await;
    }
}

fn first(earlier: CloseOutcome, later: CloseOutcome) -> CloseOutcome {
    if earlier == CloseOutcome::Done {
        later
    } else {
        earlier
    }
}

fn ending(error: &io::Error) -> CloseOutcome {
    if is_reset(error) {
        CloseOutcome::Reset
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        CloseOutcome::Error("ended within a message".to_owned())
    } else {
        CloseOutcome::Error(errno_name(error))
    }
}
