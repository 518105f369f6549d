//! One relayed connection from accept to close: loop guard, upstream, relay, records.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::accept::Accepted;
use crate::counted_io::Traffic;
use crate::errno::{errno_name, is_reset};
use crate::log::Log;
use crate::record::{CloseOutcome, Transport};

use super::Direction;
use super::loop_guard::{Arrival, LoopGuard, Step};
use super::metrics::ListenerMetrics;
use super::relay::{Broken, Ending, Leg, Side, relay};
use super::route::Routes;

/// Time for the handshake with an upstream; Istio's default.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Time a client that is turned away has to read the end of data before its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all relayed connections of a proxy share.
pub(super) struct Forwarder {
    pub(super) guard: Arc<LoopGuard>,
    pub(super) routes: Arc<Routes>,
    pub(super) log: Log,
    /// One permit per connection that may be served at once.
    pub(super) places: Arc<Semaphore>,
}

impl Forwarder {
    /// Serves an accepted connection in the background, or closes it if there is no place.
    pub(super) fn take(
        self: Arc<Self>,
        direction: Direction,
        metrics: &ListenerMetrics,
        accepted: Accepted,
    ) {
        let open = metrics.opened();
        let metrics = metrics.clone();
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => tokio::spawn(async move {
                self.forward(direction, &metrics, accepted).await;
                drop((place, open));
            }),
            Err(_) => tokio::spawn(async move {
                metrics.over_limit.inc();
                tracing::warn!(
                    conn = accepted.conn,
                    listener = direction.name(),
                    "too many connections"
                );
                // Close first: a refusal must free what it is refused for.
                drop(accepted.stream);
                self.log
                    .close(
                        accepted.conn,
                        None,
                        &Traffic::default(),
                        CloseOutcome::OverLimit,
                    )
                    .await;
                drop(open);
            }),
        };
    }

    /// Ends a connection that goes nowhere, and says why in the log.
    pub(super) async fn turn_away(self: Arc<Self>, accepted: Accepted, why: &str) {
        let traffic = Traffic::default();
        say_farewell(&accepted.stream, &traffic).await;
        drop(accepted.stream);
        let outcome = CloseOutcome::UpstreamFailed(why.to_owned());
        self.log.close(accepted.conn, None, &traffic, outcome).await;
    }

    async fn forward(&self, direction: Direction, metrics: &ListenerMetrics, accepted: Accepted) {
        let traffic = Traffic::default();
        let outcome = self.carry(direction, metrics, &accepted, &traffic).await;
        if turned_away(&outcome) {
            say_farewell(&accepted.stream, &traffic).await;
        }
        drop(accepted.stream);
        tracing::debug!(
            conn = accepted.conn,
            ?outcome,
            received = traffic.received(),
            sent = traffic.sent(),
            "closed"
        );
        self.log.close(accepted.conn, None, &traffic, outcome).await;
    }

    /// Does everything between the accept and the close of the client's connection; gives the latter's outcome.
    async fn carry(
        &self,
        direction: Direction,
        metrics: &ListenerMetrics,
        accepted: &Accepted,
        traffic: &Traffic,
    ) -> CloseOutcome {
        let Accepted {
            conn, peer, local, ..
        } = *accepted;
        let dst = accepted.original_dst.addr().unwrap_or(local);
        // From the check to the start of the upstream there is no await: what the guard found still holds.
        if let Some(evidence) = self.guard.check(&Arrival {
            transport: Transport::Tcp,
            step: Step::Relay(direction),
            peer,
            local,
            dst,
        }) {
            tracing::warn!(conn, listener = direction.name(), %evidence, "loop refused");
            metrics.loops_refused.inc();
            return CloseOutcome::LoopRefused(evidence.to_string());
        }
        // A peer that reset already may have been an upstream of ours which the guard has forgotten: go no further.
        if accepted.stream.peer_addr().is_err() {
            return CloseOutcome::Reset;
        }
        let upstream = match self.routes.upstream(direction, peer, dst) {
            Ok(upstream) => upstream,
            Err(reason) => {
                metrics.upstream_failed("none".to_owned());
                return CloseOutcome::UpstreamFailed(reason.to_string());
            }
        };
        let (dial, entry) = self
            .guard
            .open::<TcpStream>(Step::Relay(direction), upstream);
        let child = self.log.next_conn();
        tracing::trace!(conn, child, remote = %upstream.remote, source = ?upstream.source, mark = ?upstream.mark, local = ?dial.local(), "dialing");
        let (stream, event) = dial.finish(Some(conn), CONNECT_LIMIT).await;
        self.log.connect(child, None, event).await;
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                let errno = errno_name(&error);
                tracing::debug!(conn, child, remote = %upstream.remote, errno, "upstream failed");
                metrics.upstream_failed(errno.clone());
                return CloseOutcome::UpstreamFailed(errno);
            }
        };
        let child_traffic = Traffic::default();
        let ending = relay(
            Leg {
                side: Side::Client,
                stream: &accepted.stream,
                traffic,
            },
            Leg {
                side: Side::Upstream,
                stream: &stream,
                traffic: &child_traffic,
            },
            &metrics.from_client,
            &metrics.to_client,
        )
        .await;
        tracing::trace!(conn, child, ?ending, "relay ended");
        // Socket first, entry second: an open upstream is always in the guard's books.
        drop(stream);
        drop(entry);
        self.log
            .close(
                child,
                None,
                &child_traffic,
                outcome_of(&ending, Side::Upstream),
            )
            .await;
        outcome_of(&ending, Side::Client)
    }
}

/// Outcome of one of two relayed connections.
fn outcome_of(ending: &Ending, side: Side) -> CloseOutcome {
    match ending {
        Ending::Done => CloseOutcome::Done,
        Ending::Broken(Broken {
            side: broken,
            error,
        }) if *broken == side => {
            if is_reset(error) {
                CloseOutcome::Reset
            } else {
                CloseOutcome::Error(errno_name(error))
            }
        }
        Ending::Broken(Broken {
            side: broken,
            error,
        }) => {
            let origin = if *broken == Side::Client {
                "client"
            } else {
                "upstream"
            };
            CloseOutcome::Error(format!(
                "reset by this proxy: its {origin} ended with {}",
                errno_name(error)
            ))
        }
    }
}

fn turned_away(outcome: &CloseOutcome) -> bool {
    matches!(
        outcome,
        CloseOutcome::LoopRefused(_) | CloseOutcome::UpstreamFailed(_)
    )
}

/// Ends our direction and reads what the client still sends, for a while.
///
/// close(2) with unread bytes sends a reset, which can overtake the end of data: the client would see one or the other
/// by chance.
async fn say_farewell(stream: &TcpStream, traffic: &Traffic) {
    if SockRef::from(stream)
        .shutdown(std::net::Shutdown::Write)
        .is_err()
    {
        return;
    }
    let drain = async {
        let mut scrap = [0; 4096];
        loop {
            match stream.try_read(&mut scrap) {
                Ok(0) => return Ok(()),
                Ok(length) => traffic.add_received(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.readable().await?
                }
                Err(error) => return Err(error),
            }
        }
    };
    // However it ends, the connection is closed next and its outcome is known already.
    let _: Result<io::Result<()>, _> = timeout(FAREWELL, drain).await;
}
