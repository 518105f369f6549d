//! Health and metrics ports: what kubelet and Prometheus ask a sidecar.

use hyper::{Method, StatusCode};

use crate::http_server::{Answer, answer, text};

use super::metrics::{CONTENT_TYPE, Metrics};

/// Port that answers readiness only; any other health port plays the agent's 15020.
const READINESS_PORT: u16 = 15021;

/// Answers on a health port.
pub(super) fn respond(port: u16, method: &Method, path: &str, metrics: &Metrics) -> Answer {
    if let Some(refused) = only_get(method) {
        return refused;
    }
    match path {
        // Bound before the process reported ready, so whoever gets here gets a yes.
        "/healthz/ready" => text(StatusCode::OK, "ready\n"),
        "/stats/prometheus" if port != READINESS_PORT => prometheus(metrics),
        path if port != READINESS_PORT && path.starts_with("/app-health/") => {
            text(StatusCode::OK, "healthy\n")
        }
        path => not_found(path),
    }
}

/// Answers on the metrics port.
pub(super) fn respond_metrics(method: &Method, path: &str, metrics: &Metrics) -> Answer {
    if let Some(refused) = only_get(method) {
        return refused;
    }
    match path {
        "/stats/prometheus" => prometheus(metrics),
        path => not_found(path),
    }
}

/// The metrics as OpenMetrics text.
pub(super) fn prometheus(metrics: &Metrics) -> Answer {
    match metrics.text() {
        Ok(body) => answer(StatusCode::OK, CONTENT_TYPE, body),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics not written: {error}\n"),
        ),
    }
}

/// A 404 that repeats what was asked for.
pub(super) fn not_found(path: &str) -> Answer {
    text(StatusCode::NOT_FOUND, format!("no such path: {path}\n"))
}

fn only_get(method: &Method) -> Option<Answer> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    (!reads).then(|| {
        text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not served here, use GET\n"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(port: u16, method: &Method, path: &str) -> u16 {
        respond(port, method, path, &Metrics::new(std::iter::empty()))
            .status()
            .as_u16()
    }

    #[test]
    fn the_readiness_port_says_ready() {
        assert_eq!(status(15021, &Method::GET, "/healthz/ready"), 200);
    }

    #[test]
    fn the_readiness_port_knows_nothing_else() {
        assert_eq!(status(15021, &Method::GET, "/stats/prometheus"), 404);
    }

    #[test]
    fn the_agent_port_says_ready() {
        assert_eq!(status(15020, &Method::GET, "/healthz/ready"), 200);
    }

    #[test]
    fn the_agent_port_answers_for_the_app() {
        assert_eq!(
            status(15020, &Method::GET, "/app-health/reviews/livez"),
            200
        );
    }

    #[test]
    fn the_agent_port_shows_metrics() {
        assert_eq!(status(15020, &Method::GET, "/stats/prometheus"), 200);
    }

    #[test]
    fn an_unknown_path_is_not_found() {
        assert_eq!(status(15020, &Method::GET, "/"), 404);
    }

    #[test]
    fn a_post_is_not_served() {
        assert_eq!(status(15021, &Method::POST, "/healthz/ready"), 405);
    }

    #[test]
    fn the_metrics_port_shows_metrics_as_open_metrics() {
        let answer = respond_metrics(
            &Method::GET,
            "/stats/prometheus",
            &Metrics::new(std::iter::empty()),
        );
        assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
    }
}
