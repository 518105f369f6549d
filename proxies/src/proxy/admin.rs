//! The admin port: log level, metrics and readiness, in the manner of Envoy's.

use hyper::{Method, StatusCode, Uri};

use crate::http_server::{Answer, text};
use crate::log_level::{LevelError, LevelNames, LogLevel};

use super::health::{not_found, prometheus};
use super::metrics::Metrics;

const ENDPOINTS: &str = "\
GET  /                     this list
GET  /logging              the log level
POST /logging?level=LEVEL  change the log level
GET  /ready                LIVE when the proxy serves
GET  /stats                metrics, OpenMetrics text
";

/// Answers on the admin port.
pub(super) fn respond(method: &Method, uri: &Uri, level: &LogLevel, metrics: &Metrics) -> Answer {
    match (method, uri.path()) {
        (&Method::GET, "/") => text(StatusCode::OK, ENDPOINTS),
        (&Method::GET, "/ready") => text(StatusCode::OK, "LIVE\n"),
        (&Method::GET, "/stats") => prometheus(metrics),
        // A GET with a level would look as if it had changed it.
        (&Method::GET, "/logging") if uri.query().is_none() => show_level(level),
        (&Method::POST, "/logging") => change_level(uri.query(), level),
        (_, "/" | "/ready" | "/stats") => not_allowed(method, "GET"),
        (_, "/logging") => not_allowed(method, "GET to read the level, POST to change it"),
        (_, path) => not_found(path),
    }
}

fn show_level(level: &LogLevel) -> Answer {
    match level.name() {
        Ok(name) => text(StatusCode::OK, format!("level: {name}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn change_level(query: Option<&str>, level: &LogLevel) -> Answer {
    let Some(wanted) = query.and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("level="))
    }) else {
        let usage = format!("usage: POST /logging?level=LEVEL; levels: {LevelNames}\n");
        return text(StatusCode::BAD_REQUEST, usage);
    };
    match level.set(wanted) {
        Ok(()) => {
            tracing::info!(level = wanted, "log level changed");
            show_level(level)
        }
        Err(error @ LevelError::Unknown(_)) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        Err(error @ LevelError::Gone) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
    }
}

fn not_allowed(method: &Method, instead: &str) -> Answer {
    text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not served here, use {instead}\n"),
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Asks the admin port; the level starts at info and the second answer is to `GET /logging`.
    async fn ask(method: Method, uri: &str) -> (u16, String, String) {
        let (level, filter) = LogLevel::new();
        // The level lives as long as a subscriber that uses it.
        let _subscriber = tracing_subscriber::registry().with(filter);
        let metrics = Metrics::new(std::iter::empty());
        let answer = respond(&method, &uri.parse().expect("literal"), &level, &metrics);
        let status = answer.status().as_u16();
        let after = body(respond(
            &Method::GET,
            &Uri::from_static("/logging"),
            &level,
            &metrics,
        ))
        .await;
        (status, body(answer).await, after)
    }

    async fn body(answer: Answer) -> String {
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_known_level_takes_effect() {
        let (status, answer, after) = ask(Method::POST, "/logging?level=trace").await;
        assert_eq!(
            (status, answer.as_str(), after.as_str()),
            (200, "level: trace\n", "level: trace\n")
        );
    }

    #[tokio::test]
    async fn an_unknown_level_is_refused_with_the_known_ones_and_changes_nothing() {
        let (status, answer, after) = ask(Method::POST, "/logging?level=loud").await;
        let refusal = "unknown level \"loud\"; levels: off, error, warn, info, debug, trace\n";
        assert_eq!(
            (status, answer.as_str(), after.as_str()),
            (400, refusal, "level: info\n")
        );
    }

    #[tokio::test]
    async fn a_post_without_a_level_is_told_the_usage() {
        let (status, answer, _) = ask(Method::POST, "/logging").await;
        let usage =
            "usage: POST /logging?level=LEVEL; levels: off, error, warn, info, debug, trace\n";
        assert_eq!((status, answer.as_str()), (400, usage));
    }

    #[tokio::test]
    async fn a_get_does_not_change_the_level() {
        let (status, _, after) = ask(Method::GET, "/logging?level=trace").await;
        assert_eq!((status, after.as_str()), (405, "level: info\n"));
    }

    #[tokio::test]
    async fn the_root_lists_the_endpoints() {
        let (status, answer, _) = ask(Method::GET, "/").await;
        assert_eq!((status, answer.as_str()), (200, ENDPOINTS));
    }
}
