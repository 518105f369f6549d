//! A lookup that the lab asked for: one query from this very process.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};

use crate::dial::{Dial, Way};
use crate::log::Log;
use crate::record::Transport;
use crate::wire::CallOutcome;

use super::ask::{Ask, AskError, ask};
use super::message::{Query, Reading};

/// A name to look up.
pub(crate) struct Lookup {
    /// Server; its family is the one asked for.
    pub(crate) to: SocketAddr,
    /// `SO_MARK`; none leaves the socket alone.
    pub(crate) mark: Option<u32>,
    pub(crate) transport: Transport,
    pub(crate) name: String,
    pub(crate) request_id: String,
    /// Time for everything: connect, query, answer.
    pub(crate) limit: Duration,
    /// Source port; none leaves it to the kernel.
    pub(crate) source_port: Option<u16>,
}

/// Sends the query. When this returns its connect and close records are with the writer.
pub(crate) async fn lookup(log: &Log, lookup: Lookup) -> CallOutcome {
    let query = match Query::new(&lookup.name, lookup.to.is_ipv4()) {
        Ok(query) => query,
        Err(error) => return CallOutcome::Closed(format!("query not sent: {error}")),
    };
    let read = |bytes: &[u8]| {
        query.read(bytes).map(|reading| match reading {
            Reading::Addresses(addresses) => Some(CallOutcome::Resolved(addresses)),
            Reading::NoAddress(code) => Some(CallOutcome::Unresolved(code)),
            Reading::Foreign => None,
        })
    };
    let asked = Ask {
        parent: None,
        request_id: Some(&lookup.request_id),
        query: &query.bytes,
        limit: lookup.limit,
    };
    let way = Way {
        mark: lookup.mark,
        ..Way::from_port(lookup.to, lookup.source_port)
    };
    let answer = match lookup.transport {
        Transport::Udp => ask(log, Dial::<UdpSocket>::start(way), asked, read, ()).await,
        Transport::Tcp => ask(log, Dial::<TcpStream>::start(way), asked, read, ()).await,
    };
    answer.unwrap_or_else(|error| match error {
        AskError::Unreachable(errno) => CallOutcome::ConnectFailed(errno),
        AskError::Ended(how) => CallOutcome::Closed(how),
        AskError::Timeout => CallOutcome::Timeout,
    })
}
