//! The cluster's DNS server: knows its list of names, and that there are no others.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use crate::counted_io::Traffic;
use crate::listen::{self, BindError};
use crate::log::Log;
use crate::wire::DnsConfig;

use super::message;
use super::names::{NameError, Names};
use super::response::{Arrival, Response};
use super::server::{self, Responder, Sockets};

/// Connections it serves at once.
const PLACES: usize = 1024;

/// A DNS server that could not start.
#[derive(Debug, Error)]
pub(crate) enum DnsError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(
        "DNS server cannot listen on {0}: an answer must leave from the address that was asked; \
         list particular addresses"
    )]
    AnyAddress(std::net::SocketAddr),
}

/// The server, with its sockets bound.
pub(crate) struct Cluster {
    pub(crate) sockets: Sockets,
    names: Names,
}

/// Checks the names and binds every socket.
pub(crate) fn bind(config: &DnsConfig) -> Result<Cluster, DnsError> {
    let names = Names::new(&config.names)?;
    let mut sockets = Sockets {
        tcp: Vec::new(),
        udp: Vec::new(),
    };
    for address in &config.listen {
        if address.ip().is_unspecified() {
            return Err(DnsError::AnyAddress(*address));
        }
        sockets.tcp.push(listen::bind(*address)?);
        sockets.udp.push(listen::bind_udp(*address)?);
    }
    Ok(Cluster { sockets, names })
}

impl Cluster {
    /// Serves in the background.
    pub(crate) fn serve(self, log: &Log) {
        let places = Arc::new(Semaphore::new(PLACES));
        server::serve(self.sockets, log, &places, &Arc::new(Known(self.names)));
    }
}

/// Answers from the names alone.
struct Known(Names);

impl Responder for Known {
    type Open = ();

    fn opened(&self) {}

    fn over_limit(&self) {}

    fn carried(&self, _: &Traffic) {}

    async fn respond(&self, arrival: &Arrival, query: &[u8]) -> Response {
        let query = match message::read_query(query) {
            Ok(query) => query,
            Err(unserved) => return Response::unserved(arrival, &unserved),
        };
        let (name, _) = message::question(&query);
        let answer = match self.0.find(&name) {
            Some(addresses) => message::addresses(&query, addresses),
            None => message::no_such_name(&query),
        };
        Response::answer(arrival, &query, &answer)
    }
}
