//! The app and the probe.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::wire::{AppCall, AppConfig};

async fn app(service: &str, calls: Vec<AppCall>) -> Stub {
    Stub::start(Part::App(AppConfig {
        service: service.to_owned(),
        ports: vec![0],
        calls,
    }))
    .await
}

/// A call by literal address: a name would depend on this machine's hosts file.
fn calling(to: SocketAddr, path: &str) -> AppCall {
    AppCall {
        service: to.ip().to_string(),
        port: to.port(),
        path: path.to_owned(),
    }
}

/// A port of 127.0.0.1 nobody listens on.
fn closed_port() -> SocketAddr {
    crate::listen::bind("127.0.0.1:0".parse().expect("literal"))
        .expect("bind")
        .address
}

#[tokio::test]
async fn records_of_a_call_precede_its_reply() {
    let app = app("details", Vec::new()).await;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.get(app.on_loopback(0), "/health").await;
    assert_eq!(body(outcome), r#"{"status":"healthy"}"#);
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
    let ids: Vec<Option<&str>> = probe
        .records
        .iter()
        .map(|record| record.request_id.as_deref())
        .collect();
    assert_eq!(ids, [Some("trace-1"), Some("trace-1")]);
}

#[tokio::test]
async fn a_refused_call_has_a_connect_record_only() {
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.get(closed_port(), "/").await;
    assert_eq!(
        outcome,
        CallOutcome::ConnectFailed("ECONNREFUSED".to_owned())
    );
    assert_eq!(probe.events(), ["connect 1"]);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_closed() {
    let listener = crate::listen::bind("127.0.0.1:0".parse().expect("literal")).expect("bind");
    let to = listener.address;
    tokio::spawn(async move {
        let (mut stream, _) = listener.socket.accept().await.expect("accept");
        // Unread bytes would turn the end into a reset.
        stream.shutdown().await.expect("shutdown");
        stream.read_to_end(&mut Vec::new()).await.expect("read");
    });
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.get(to, "/").await;
    assert_eq!(
        outcome,
        CallOutcome::Closed("ended before an answer".to_owned())
    );
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
}

#[tokio::test]
async fn a_call_without_an_answer_ends_after_the_time_given() {
    let silent = crate::listen::bind("127.0.0.1:0".parse().expect("literal")).expect("bind");
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe
        .get_within(silent.address, "/", Duration::from_millis(50))
        .await;
    assert_eq!(outcome, CallOutcome::Timeout);
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
}

#[tokio::test]
async fn an_app_answers_with_the_tree_of_the_answers_it_got() {
    let ratings = app("ratings", Vec::new()).await;
    let reviews = app(
        "reviews",
        vec![calling(ratings.on_loopback(0), "/ratings/0")],
    )
    .await;
    let mut probe = Stub::start(Part::Probe).await;
    let answer = body(probe.get(reviews.on_loopback(0), "/reviews/0").await);
    let tree: Value = serde_json::from_str(&answer).expect("JSON");
    let seen = [
        "/service",
        "/request_id",
        "/calls/0/status",
        "/calls/0/answer/path",
        "/calls/0/answer/request_id",
    ]
    .map(|pointer| {
        tree.pointer(pointer)
            .map(Value::to_string)
            .unwrap_or_default()
    });
    let expected = [
        r#""reviews""#,
        r#""trace-1""#,
        "200",
        r#""/ratings/0""#,
        r#""trace-1""#,
    ];
    assert_eq!(seen, expected, "{answer}");
}

#[tokio::test]
async fn calls_are_made_over_the_family_of_the_client() {
    let ratings = app("ratings", Vec::new()).await;
    let reviews = app(
        "reviews",
        vec![calling(ratings.on_loopback(1), "/ratings/0")],
    )
    .await;
    let mut probe = Stub::start(Part::Probe).await;
    let answer = body(probe.get(reviews.on_loopback(1), "/reviews/0").await);
    assert!(
        answer.contains(r#""calls":[{"service":"::1","status":200"#),
        "{answer}"
    );
}

#[tokio::test]
async fn a_call_lies_between_the_accept_and_the_close_of_its_parent() {
    let ratings = app("ratings", Vec::new()).await;
    let mut reviews = app(
        "reviews",
        vec![calling(ratings.on_loopback(0), "/ratings/0")],
    )
    .await;
    let mut probe = Stub::start(Part::Probe).await;
    probe.get(reviews.on_loopback(0), "/reviews/0").await;
    reviews.closed(1).await;
    assert_eq!(
        reviews.events(),
        ["accept 1", "connect 2 for 1", "close 2", "close 1"]
    );
    let ids: Vec<bool> = reviews
        .records
        .iter()
        .map(|record| record.request_id.is_some())
        .collect();
    assert_eq!(ids, [false, true, true, true]);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_an_error_in_the_tree() {
    let reviews = app("reviews", vec![calling(closed_port(), "/ratings/0")]).await;
    let mut probe = Stub::start(Part::Probe).await;
    let answer = body(probe.get(reviews.on_loopback(0), "/").await);
    let expected = r#"{"service":"127.0.0.1","error":"connect failed: ECONNREFUSED"}"#;
    assert!(answer.contains(expected), "{answer}");
}

#[tokio::test]
async fn a_service_without_an_address_of_the_clients_family_is_an_error_in_the_tree() {
    let ratings = app("ratings", Vec::new()).await;
    let reviews = app("reviews", vec![calling(ratings.on_loopback(0), "/")]).await;
    let mut probe = Stub::start(Part::Probe).await;
    let answer = body(probe.get(reviews.on_loopback(1), "/").await);
    assert!(
        answer.contains(r#""error":"127.0.0.1 has no IPv6 address""#),
        "{answer}"
    );
}

/// Rules that redirect all an app sends make it call itself.
#[tokio::test]
async fn an_app_that_is_called_by_itself_refuses_the_second_request() {
    let listener = crate::listen::bind("127.0.0.1:0".parse().expect("literal")).expect("bind");
    let own = listener.address;
    drop(listener);
    let app = Stub::start(Part::App(AppConfig {
        service: "self".to_owned(),
        ports: vec![own.port()],
        calls: vec![calling(own, "/again")],
    }))
    .await;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.get(own, "/").await;
    let CallOutcome::Answer { status, body } = outcome else {
        panic!("no answer: {outcome:?}");
    };
    let tree: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    assert_eq!(tree["calls"][0]["status"], 508, "{body}");
    drop(app);
}
