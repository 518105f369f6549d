//! Connections that stay open from one call to a later one, by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::call::{self, Call, Request};
use crate::counted_io::{CountedIo, Traffic};
use crate::log::Log;
use crate::record::CloseOutcome;
use crate::wire::CallOutcome;

/// Time for a held connection to end once nobody holds it.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The held connections of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldConnections(Arc<Mutex<HashMap<String, Held>>>);

/// One that is open, or was when it was last used.
#[derive(Debug)]
struct Held {
    sender: SendRequest<Empty<Bytes>>,
    /// Reads and writes; ends with the connection.
    driver: JoinHandle<hyper::Result<()>>,
    traffic: Arc<Traffic>,
    conn: u64,
    request_id: Option<String>,
}

impl HeldConnections {
    /// Sends a call over a connection of its own, and keeps that open. One that answers nothing is not kept, and
    /// has its close record then.
    pub(crate) async fn open(&self, log: &Log, name: String, call: Call) -> CallOutcome {
        let deadline = Instant::now() + call.limit;
        let request_id = call.request_id.clone();
        let (conn, stream) = match call::connect(log, &call).await {
            Ok(connected) => connected,
            Err(outcome) => return outcome,
        };
        let traffic = Arc::new(Traffic::default());
        let held = match handshake(stream, conn, &traffic, request_id).await {
            Ok(held) => held,
            Err(error) => return CallOutcome::Closed(error.to_string()),
        };
        let request = Request {
            host: &call.host,
            path: &call.path,
            request_id: call.request_id.as_deref(),
            last: false,
        };
        self.exchange(log, name, held, &request, deadline).await
    }

    /// Sends another call over a held connection.
    pub(crate) async fn resume(
        &self,
        log: &Log,
        name: String,
        request: &Request<'_>,
        limit: Duration,
    ) -> CallOutcome {
        let Some(held) = self.take(&name) else {
            return CallOutcome::Closed(format!("no connection {name} is held"));
        };
        let deadline = Instant::now() + limit;
        self.exchange(log, name, held, request, deadline).await
    }

    /// Ends a held connection. When this returns its close record is with the writer.
    pub(crate) async fn release(&self, log: &Log, name: &str) -> CallOutcome {
        let Some(held) = self.take(name) else {
            return CallOutcome::Closed(format!("no connection {name} is held"));
        };
        held.end(log, None).await;
        CallOutcome::Closed("released".to_owned())
    }

    fn take(&self, name: &str) -> Option<Held> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(name)
    }

    async fn exchange(
        &self,
        log: &Log,
        name: String,
        mut held: Held,
        request: &Request<'_>,
        deadline: Instant,
    ) -> CallOutcome {
        let built = match request.build() {
            Ok(built) => built,
            Err(error) => return CallOutcome::Closed(format!("request not sent: {error}")),
        };
        let answer = async {
            held.sender.ready().await?;
            call::read(held.sender.send_request(built).await?).await
        };
        let outcome = match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => {
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(name, held);
                return answer;
            }
            Ok(Err(_)) if held.traffic.was_reset() => CallOutcome::Closed("ECONNRESET".to_owned()),
            Ok(Err(error)) => CallOutcome::Closed(call::in_words(&*error)),
            Err(_) => {
                let gave_up = CloseOutcome::Error("gave up waiting for an answer".to_owned());
                held.end(log, Some(gave_up)).await;
                return CallOutcome::Timeout;
            }
        };
        held.end(log, None).await;
        outcome
    }
}

async fn handshake(
    stream: TcpStream,
    conn: u64,
    traffic: &Arc<Traffic>,
    request_id: Option<String>,
) -> hyper::Result<Held> {
    let io = TokioIo::new(CountedIo::new(stream, Arc::clone(traffic)));
    let (sender, connection) = http1::handshake(io).await?;
    Ok(Held {
        sender,
        driver: tokio::spawn(connection),
        traffic: Arc::clone(traffic),
        conn,
        request_id,
    })
}

impl Held {
    /// Closes it and writes its close record.
    async fn end(self, log: &Log, how: Option<CloseOutcome>) {
        drop(self.sender);
        let mut driver = self.driver;
        let ended = timeout(RELEASE_LIMIT, &mut driver).await;
        let outcome = match (how, ended) {
            (Some(how), _) => how,
            _ if self.traffic.was_reset() => CloseOutcome::Reset,
            (None, Ok(Ok(Err(error)))) => CloseOutcome::Error(error.to_string()),
            (None, Err(_)) => {
                // A peer that does not answer keeps it open; ending the task closes the socket.
                driver.abort();
                CloseOutcome::Error("it did not end".to_owned())
            }
            (None, _) => CloseOutcome::Done,
        };
        log.close(
            self.conn,
            self.request_id.as_deref(),
            &self.traffic,
            outcome,
        )
        .await;
    }
}
