//! HTTP/1.1 on an accepted connection, and the close record at its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::accept::Accepted;
use crate::counted_io::{CountedIo, Traffic};
use crate::log::Log;
use crate::record::CloseOutcome;

/// Header that names a request along its whole path.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer that is complete when it is made.
pub(crate) type Answer = Response<Full<Bytes>>;

/// A request and the connection it came on.
pub(crate) struct Exchange {
    pub(crate) request: Request<Incoming>,
    pub(crate) conn: u64,
    /// Remote end of the connection.
    pub(crate) peer: SocketAddr,
    /// Value of `x-request-id`, if the client sent one.
    pub(crate) request_id: Option<String>,
}

/// An answer of the given kind.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    answer
}

/// A plain text answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

/// Serves the connection until it is over and writes its close record, under the id of its last request.
///
/// An idle connection is kept: scenarios hold connections over a change of rules.
pub(crate) async fn serve<H, F>(log: &Log, accepted: Accepted, respond: H) -> Arc<Traffic>
where
    H: Fn(Exchange) -> F,
    F: Future<Output = Answer>,
{
    let Accepted {
        conn, stream, peer, ..
    } = accepted;
    let traffic = Arc::new(Traffic::default());
    let last_id: Mutex<Option<String>> = Mutex::default();
    let service = service_fn(|request: Request<Incoming>| {
        let request_id = request
            .headers()
            .get(REQUEST_ID)
            .map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        if request_id.is_some() {
            last_id
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&request_id);
        }
        tracing::trace!(conn, method = %request.method(), uri = %request.uri(), ?request_id, "request");
        let answering = respond(Exchange {
            request,
            conn,
            peer,
            request_id,
        });
        async { Ok::<_, Infallible>(answering.await) }
    });
    let io = TokioIo::new(CountedIo::new(stream, Arc::clone(&traffic)));
    // half_close: a client may end its sending side after the request and still wants the answer.
    let result = http1::Builder::new()
        .half_close(true)
        .serve_connection(io, service)
        .await;
    let outcome = match result {
        _ if traffic.was_reset() => CloseOutcome::Reset,
        Ok(()) => CloseOutcome::Done,
        Err(error) => CloseOutcome::Error(error.to_string()),
    };
    let last_id = last_id.into_inner().unwrap_or_else(PoisonError::into_inner);
    tracing::debug!(
        conn,
        ?outcome,
        received = traffic.received(),
        sent = traffic.sent(),
        "closed"
    );
    log.close(conn, last_id.as_deref(), &traffic, outcome).await;
    traffic
}
