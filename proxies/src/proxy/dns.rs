//! The sidecar's DNS proxy, as Istio's agent has it: answers names of the mesh, asks upstream for any other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;
use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};

use crate::counted_io::Traffic;
use crate::dial::Way;
use crate::dns::ask::{Ask, AskError, Carrier, ask};
use crate::dns::message;
use crate::dns::names::{NameError, Names};
use crate::dns::response::{Arrival, Response};
use crate::dns::server::{Responder, Sockets};
use crate::listen::{self, BindError};
use crate::log::Log;
use crate::record::{CloseOutcome, Transport};
use crate::wire::DnsProxy;

use super::loop_guard::{self, LoopGuard, Step};
use super::metrics::{ListenerMetrics, OpenConnection};

/// Time an upstream has; that of Istio's agent.
const LIMIT: Duration = Duration::from_secs(5);

/// A DNS proxy that could not start.
#[derive(Debug, Error)]
pub(crate) enum DnsProxyError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Names(#[from] NameError),
    #[error("DNS proxy: upstream {0} is this proxy's own listener; name the cluster's DNS server")]
    Itself(SocketAddr),
}

/// A DNS proxy whose sockets are bound.
pub(super) struct Bound {
    pub(super) sockets: Sockets,
    pub(super) names: Names,
    pub(super) upstream: Vec<SocketAddr>,
}

/// Checks the configuration and binds every socket.
pub(super) fn bind(config: &DnsProxy) -> Result<Bound, DnsProxyError> {
    let names = Names::new(&config.names)?;
    let is_itself = |server: &&SocketAddr| {
        let ip = server.ip();
        server.port() == config.port && (ip.is_loopback() || config.also.contains(&ip))
    };
    if let Some(itself) = config.upstream.iter().find(is_itself) {
        return Err(DnsProxyError::Itself(*itself));
    }
    // Loopback only, as in Istio: a REDIRECT of the pod's own packets leads there.
    let mut sockets = Sockets {
        tcp: listen::bind_loopback(config.port)?,
        udp: listen::bind_loopback_udp(config.port)?,
    };
    for ip in &config.also {
        let address = SocketAddr::new(*ip, config.port);
        sockets.tcp.push(listen::bind(address)?);
        sockets.udp.push(listen::bind_udp(address)?);
    }
    Ok(Bound {
        sockets,
        names,
        upstream: config.upstream.clone(),
    })
}

/// Answers queries.
pub(super) struct Resolver {
    pub(super) names: Names,
    pub(super) upstream: Vec<SocketAddr>,
    /// `SO_MARK` of upstream connections.
    pub(super) mark: Option<u32>,
    pub(super) guard: Arc<LoopGuard>,
    pub(super) metrics: ListenerMetrics,
    pub(super) log: Log,
}

impl Responder for Resolver {
    type Open = OpenConnection;

    fn opened(&self) -> OpenConnection {
        self.metrics.opened()
    }

    fn over_limit(&self) {
        self.metrics.over_limit.inc();
    }

    fn carried(&self, traffic: &Traffic) {
        self.metrics.from_client.inc_by(traffic.received());
        self.metrics.to_client.inc_by(traffic.sent());
    }

    async fn respond(&self, arrival: &Arrival, bytes: &[u8]) -> Response {
        let query = match message::read_query(bytes) {
            Ok(query) => query,
            Err(unserved) => return Response::unserved(arrival, &unserved),
        };
        if let Some(evidence) = self.loop_evidence(arrival) {
            tracing::warn!(
                conn = arrival.conn,
                listener = super::DNS,
                evidence,
                "loop refused"
            );
            self.metrics.loops_refused.inc();
            // Not silence: the one who waits for the answer is this proxy, on behalf of a client.
            let answer = message::failure(&query, ResponseCode::Refused);
            let outcome = CloseOutcome::LoopRefused(evidence);
            return Response::failure(arrival, &query, &answer, outcome);
        }
        let (name, record_type) = message::question(&query);
        match self.names.find(&name) {
            // Other types of a known name go upstream, as with Istio's agent.
            Some(addresses) if matches!(record_type, RecordType::A | RecordType::AAAA) => {
                Response::answer(arrival, &query, &message::addresses(&query, addresses))
            }
            _ => self.forward(arrival, &query, bytes).await,
        }
    }
}

impl Resolver {
    fn loop_evidence(&self, arrival: &Arrival) -> Option<String> {
        let evidence = self.guard.check(&loop_guard::Arrival {
            transport: arrival.transport,
            step: Step::Dns,
            peer: arrival.peer,
            local: arrival.local,
            dst: arrival.original_dst.addr().unwrap_or(arrival.local),
        });
        evidence.map(|evidence| evidence.to_string())
    }

    /// Passes the query on as it is, over the transport and in the family it came, to one server after the other until
    /// one answers. A client that nobody answers is told SERVFAIL.
    async fn forward(&self, arrival: &Arrival, query: &Message, bytes: &[u8]) -> Response {
        let same_family = |server: &&SocketAddr| server.is_ipv4() == arrival.peer.is_ipv4();
        let mut failure = None;
        for server in self.upstream.iter().filter(same_family) {
            let answer = match arrival.transport {
                Transport::Udp => self.ask::<UdpSocket>(arrival, *server, query, bytes).await,
                Transport::Tcp => self.ask::<TcpStream>(arrival, *server, query, bytes).await,
            };
            match answer {
                Ok(answer) => {
                    return Response {
                        answer: Some(answer),
                        outcome: CloseOutcome::Done,
                    };
                }
                Err(error) => {
                    tracing::debug!(conn = arrival.conn, %server, %error, "upstream failed");
                    self.metrics.upstream_failed(error.to_string());
                    failure = Some(error.to_string());
                }
            }
        }
        let failure = failure.unwrap_or_else(|| {
            self.metrics.upstream_failed("none".to_owned());
            "no upstream server of this family".to_owned()
        });
        let answer = message::failure(query, ResponseCode::ServFail);
        Response::failure(
            arrival,
            query,
            &answer,
            CloseOutcome::UpstreamFailed(failure),
        )
    }

    async fn ask<S: Carrier>(
        &self,
        arrival: &Arrival,
        server: SocketAddr,
        query: &Message,
        bytes: &[u8],
    ) -> Result<Vec<u8>, AskError> {
        let way = Way {
            mark: self.mark,
            ..Way::to(server)
        };
        let (dial, entry) = self.guard.open::<S>(Step::Dns, way);
        let asked = Ask {
            parent: Some(arrival.conn),
            request_id: None,
            query: bytes,
            limit: LIMIT,
        };
        let read = |answer: &[u8]| {
            let message = Message::from_vec(answer).map_err(|error| error.to_string())?;
            let is_answer = message.message_type == MessageType::Response && message.id == query.id;
            Ok(is_answer.then(|| answer.to_vec()))
        };
        ask(&self.log, dial, asked, read, entry).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_that_would_ask_itself_does_not_start() {
        let config = DnsProxy {
            port: 15053,
            also: Vec::new(),
            names: Vec::new(),
            upstream: vec!["[::1]:15053".parse().expect("literal")],
        };
        let error = bind(&config).err().expect("refused");
        assert_eq!(
            error.to_string(),
            "DNS proxy: upstream [::1]:15053 is this proxy's own listener; name the cluster's DNS server"
        );
    }
}
