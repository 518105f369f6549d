//! What the app answers: who it is, whom it saw, and what the services it called answered.

use std::net::SocketAddr;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::http_server::{self, Answer};
use crate::wire::CallOutcome;

/// Answer of one app to one request.
#[derive(Serialize)]
pub(super) struct Tree<'a> {
    pub(super) service: &'a str,
    pub(super) pod: &'a str,
    pub(super) path: &'a str,
    /// Remote end as the app sees it: 127.0.0.6 behind an inbound proxy.
    pub(super) peer: SocketAddr,
    pub(super) request_id: Option<&'a str>,
    pub(super) calls: Vec<CallAnswer>,
}

/// What came of one call to another service.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct CallAnswer {
    service: String,
    #[serde(flatten)]
    result: CallResult,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum CallResult {
    Answered { status: u16, answer: Value },
    Failed { error: String },
}

impl CallAnswer {
    /// From the end of a call. A body that isn't JSON becomes a JSON string.
    pub(super) fn from_outcome(service: &str, outcome: CallOutcome) -> Self {
        let result = match outcome {
            CallOutcome::Answer { status, body } => {
                let answer = serde_json::from_str(&body).unwrap_or(Value::String(body));
                CallResult::Answered { status, answer }
            }
            CallOutcome::ConnectFailed(errno) => CallResult::Failed {
                error: format!("connect failed: {errno}"),
            },
            CallOutcome::Closed(how) => CallResult::Failed {
                error: format!("closed: {how}"),
            },
            // Not of a call: a lookup's.
            CallOutcome::Resolved(addresses) => CallResult::Failed {
                error: format!("resolved to {addresses:?}"),
            },
            CallOutcome::Unresolved(code) => CallResult::Failed { error: code },
            CallOutcome::Timeout => CallResult::Failed {
                error: "timeout".to_owned(),
            },
        };
        Self {
            service: service.to_owned(),
            result,
        }
    }

    /// A call that could not even start.
    pub(super) fn failed(service: &str, error: String) -> Self {
        Self {
            service: service.to_owned(),
            result: CallResult::Failed { error },
        }
    }
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(bytes) => http_server::answer(status, "application/json", bytes),
        Err(error) => http_server::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("answer not written: {error}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_answer_stays_a_tree() {
        let outcome = CallOutcome::Answer {
            status: 200,
            body: r#"{"pod":"details-1"}"#.to_owned(),
        };
        let text = serde_json::to_string(&CallAnswer::from_outcome("details", outcome))
            .expect("serialize");
        assert_eq!(
            text,
            r#"{"service":"details","status":200,"answer":{"pod":"details-1"}}"#
        );
    }

    #[test]
    fn a_failed_call_says_why() {
        let outcome = CallOutcome::ConnectFailed("ECONNREFUSED".to_owned());
        let text = serde_json::to_string(&CallAnswer::from_outcome("ratings", outcome))
            .expect("serialize");
        assert_eq!(
            text,
            r#"{"service":"ratings","error":"connect failed: ECONNREFUSED"}"#
        );
    }
}
