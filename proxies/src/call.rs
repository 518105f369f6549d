//! One HTTP GET over one connection of its own, logged from connect to close.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::counted_io::{CountedIo, Traffic};
use crate::dial::{Dial, Source, Way};
use crate::errno::errno_name;
use crate::http_server::REQUEST_ID;
use crate::log::Log;
use crate::record::CloseOutcome;
use crate::wire::CallOutcome;

/// Bodies longer than this many bytes are an error, not a reason to run out of memory.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// A GET to send.
pub(crate) struct Call {
    /// Accepted connection on whose behalf it is sent.
    pub(crate) parent: Option<u64>,
    pub(crate) to: SocketAddr,
    /// `SO_MARK`; none leaves the socket alone.
    pub(crate) mark: Option<u32>,
    /// Value of the `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) request_id: Option<String>,
    /// Time for everything: connect, request, answer.
    pub(crate) limit: Duration,
    /// Source port; none leaves it to the kernel.
    pub(crate) source_port: Option<u16>,
    /// Source address of somebody else, with whatever port the kernel picks; it goes before `source_port`.
    pub(crate) client: Option<IpAddr>,
}

/// A GET as it stands on the wire.
pub(crate) struct Request<'a> {
    /// Value of the `Host` header.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request_id: Option<&'a str>,
    /// Nothing follows it on its connection.
    pub(crate) last: bool,
}

/// Sends the call. When this returns its connect and close records are with the writer; a connection that was never
/// made has no close record.
pub(crate) async fn get(log: &Log, call: Call) -> CallOutcome {
    let deadline = Instant::now() + call.limit;
    let request = Request {
        host: &call.host,
        path: &call.path,
        request_id: call.request_id.as_deref(),
        last: true,
    };
    let request = match request.build() {
        Ok(request) => request,
        Err(error) => return CallOutcome::Closed(format!("request not sent: {error}")),
    };
    let request_id = call.request_id.as_deref();
    let (conn, stream) = match connect(log, &call).await {
        Ok(connected) => connected,
        Err(outcome) => return outcome,
    };
    let traffic = Arc::new(Traffic::default());
    // The stream is gone when this block ends: the close record tells of a closed connection.
    let (ended, outcome) = match timeout_at(deadline, exchange(stream, &traffic, request)).await {
        Ok(Ok(answer)) => (CloseOutcome::Done, answer),
        Ok(Err(_)) if traffic.was_reset() => (
            CloseOutcome::Reset,
            CallOutcome::Closed("ECONNRESET".to_owned()),
        ),
        Ok(Err(error)) => {
            let text = in_words(&*error);
            (CloseOutcome::Error(text.clone()), CallOutcome::Closed(text))
        }
        Err(_) => (
            CloseOutcome::Error("gave up waiting for an answer".to_owned()),
            CallOutcome::Timeout,
        ),
    };
    tracing::debug!(conn, to = %call.to, ?ended, "call ended");
    log.close(conn, request_id, &traffic, ended).await;
    outcome
}

/// Connects, and writes the connect record. The number of the connection in the log comes with its stream.
pub(crate) async fn connect(log: &Log, call: &Call) -> Result<(u64, TcpStream), CallOutcome> {
    let conn = log.next_conn();
    let mut way = Way {
        mark: call.mark,
        ..Way::from_port(call.to, call.source_port)
    };
    if let Some(client) = call.client {
        way.source = Source::Client(SocketAddr::new(client, 0));
    }
    let (stream, event) = Dial::<TcpStream>::start(way)
        .finish(call.parent, call.limit)
        .await;
    log.connect(conn, call.request_id.as_deref(), event).await;
    match stream {
        Ok(stream) => Ok((conn, stream)),
        Err(error)
            if error.kind() == std::io::ErrorKind::TimedOut && error.raw_os_error().is_none() =>
        {
            Err(CallOutcome::Timeout)
        }
        Err(error) => Err(CallOutcome::ConnectFailed(errno_name(&error))),
    }
}

impl Request<'_> {
    /// As hyper takes it.
    pub(crate) fn build(&self) -> Result<hyper::Request<Empty<Bytes>>, hyper::http::Error> {
        let uri = Uri::try_from(self.path)?;
        let mut request = hyper::Request::get(uri).header(HOST, self.host);
        if self.last {
            request = request.header(CONNECTION, "close");
        }
        if let Some(id) = self.request_id {
            request = request.header(REQUEST_ID, id);
        }
        request.body(Empty::new())
    }
}

/// The same words whether the connection ended just before or just after the request was written.
pub(crate) fn in_words(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_incomplete_message() || error.is_canceled() => {
            "ended before an answer".to_owned()
        }
        _ => error.to_string(),
    }
}

pub(crate) type ExchangeError = Box<dyn std::error::Error + Send + Sync>;

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Result<CallOutcome, ExchangeError> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BODY_LIMIT)
        .collect()
        .await?
        .to_bytes();
    Ok(CallOutcome::Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

async fn exchange(
    stream: TcpStream,
    traffic: &Arc<Traffic>,
    request: hyper::Request<Empty<Bytes>>,
) -> Result<CallOutcome, ExchangeError> {
    let io = TokioIo::new(CountedIo::new(stream, Arc::clone(traffic)));
    let (mut sender, connection) = http1::handshake(io).await?;
    let answer = async move {
        // Owned by this block: dropping the sender at its end lets the connection finish.
        read(sender.send_request(request).await?).await
    };
    // What went wrong on the wire reaches the answer too; after a whole answer it no longer matters.
    let (_, answer) = tokio::join!(connection, answer);
    answer
}
