//! A query as it arrived, and what to do about it.

use std::net::SocketAddr;

use hickory_proto::op::Message;

use crate::record::{CloseOutcome, OriginalDst, Transport};

use super::message::{self, Unserved};

/// Where a query came from.
pub(crate) struct Arrival {
    /// Number in the log.
    pub(crate) conn: u64,
    pub(crate) transport: Transport,
    pub(crate) peer: SocketAddr,
    /// Where it arrived, after any REDIRECT.
    pub(crate) local: SocketAddr,
    pub(crate) original_dst: OriginalDst,
}

/// What to do about a query.
pub(crate) struct Response {
    /// Message to send back; none ends a TCP connection and leaves a datagram unanswered.
    pub(crate) answer: Option<Vec<u8>>,
    /// What the log says of the connection.
    pub(crate) outcome: CloseOutcome,
}

impl Response {
    /// A plain answer.
    pub(crate) fn answer(arrival: &Arrival, query: &Message, answer: &Message) -> Self {
        Self::encoded(arrival, answer, Some(query), CloseOutcome::Done)
    }

    /// An answer that goes with something to tell.
    pub(crate) fn failure(
        arrival: &Arrival,
        query: &Message,
        answer: &Message,
        outcome: CloseOutcome,
    ) -> Self {
        Self::encoded(arrival, answer, Some(query), outcome)
    }

    /// For bytes that are no query, or none that a server serves.
    pub(crate) fn unserved(arrival: &Arrival, unserved: &Unserved) -> Self {
        let Unserved { why, answer } = unserved;
        tracing::warn!(conn = arrival.conn, peer = %arrival.peer, why, "not served");
        let outcome = CloseOutcome::Error(why.clone());
        match answer {
            Some(answer) => Self::encoded(arrival, answer, None, outcome),
            None => Self::silence(outcome),
        }
    }

    /// No answer.
    pub(crate) fn silence(outcome: CloseOutcome) -> Self {
        Self {
            answer: None,
            outcome,
        }
    }

    fn encoded(
        arrival: &Arrival,
        answer: &Message,
        query: Option<&Message>,
        outcome: CloseOutcome,
    ) -> Self {
        match message::encode(answer, query, arrival.transport) {
            Ok(bytes) => Self {
                answer: Some(bytes),
                outcome,
            },
            Err(error) => Self::silence(CloseOutcome::Error(format!("answer not made: {error}"))),
        }
    }
}
