//! The stub app: a Bookinfo workload that calls the services its part calls and answers with the tree of answers.

mod answer;
mod downstream;
mod in_flight;

use std::sync::Arc;

use hyper::StatusCode;

use crate::accept::accept_loop;
use crate::http_server::{self, Answer, Exchange};
use crate::listen::{self, BindError, Listener};
use crate::log::Log;
use crate::wire::AppConfig;

use answer::Tree;
use in_flight::InFlight;

/// Binds the app's listeners.
pub(crate) fn bind(config: &AppConfig) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    for port in &config.ports {
        listeners.extend(listen::bind_any(*port)?);
    }
    Ok(listeners)
}

/// Serves on `listeners` in the background.
pub(crate) fn serve(config: AppConfig, log: &Log, listeners: Vec<Listener>) {
    let config = Arc::new(config);
    let in_flight = InFlight::default();
    for listener in listeners {
        let config = Arc::clone(&config);
        let (connection_log, in_flight) = (log.clone(), in_flight.clone());
        tokio::spawn(accept_loop(listener, log.clone(), move |accepted| {
            let (config, log) = (Arc::clone(&config), connection_log.clone());
            let in_flight = in_flight.clone();
            tokio::spawn(async move {
                http_server::serve(&log, accepted, |exchange| {
                    respond(&config, &log, &in_flight, exchange)
                })
                .await;
            });
        }));
    }
}

async fn respond(
    config: &AppConfig,
    log: &Log,
    in_flight: &InFlight,
    exchange: Exchange,
) -> Answer {
    let Exchange {
        request,
        conn,
        peer,
        request_id,
    } = exchange;
    if request.uri().path() == "/health" {
        return answer::json(StatusCode::OK, &serde_json::json!({ "status": "healthy" }));
    }
    // Rules that turn an app's calls back to the app would make it call itself without end.
    let id = request_id
        .clone()
        .unwrap_or_else(|| format!("{}-{conn}", log.pod()));
    let Some(_place) = in_flight.enter(&id) else {
        tracing::warn!(
            conn,
            id,
            "loop refused: a request of this id is being served"
        );
        return answer::json(
            StatusCode::LOOP_DETECTED,
            &serde_json::json!({ "error": "the app is serving a request of this id already" }),
        );
    };
    let mut calls = Vec::with_capacity(config.calls.len());
    for call in &config.calls {
        calls.push(downstream::call(log, call, conn, peer, Some(&id)).await);
    }
    let tree = Tree {
        service: &config.service,
        pod: log.pod(),
        path: request.uri().path(),
        peer,
        request_id: request_id.as_deref(),
        calls,
    };
    answer::json(StatusCode::OK, &tree)
}
