//! Lookups of a probe, against servers good and bad.

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;

use super::super::gateway::listener;
use super::*;
use crate::dns::message;

const UDP: Transport = Transport::Udp;

async fn udp_socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// Answers the first query with what `answers` makes of it.
async fn answering(answers: impl Fn(Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let (socket, address) = udp_socket().await;
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, client) = socket.recv_from(&mut buffer).await.expect("a query");
        let query = Message::from_vec(&buffer[..length]).expect("a DNS message");
        for answer in answers(query) {
            socket.send_to(&answer, client).await.expect("send");
        }
    });
    address
}

fn addresses_of(query: &Message) -> Message {
    message::addresses(query, &[ip("192.0.2.1")])
}

fn bytes(message: Message) -> Vec<u8> {
    message.to_vec().expect("encodes")
}

#[rstest]
#[tokio::test]
async fn records_of_a_lookup_precede_its_reply(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
) {
    let cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&cluster, transport, true);
    probe.lookup(to, transport, "example.org").await;
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
    let ids = probe.records.iter().map(|it| it.request_id.as_deref());
    assert!(ids.eq([Some("trace-2"); 2]), "{:?}", probe.records);
    let Event::Connect {
        transport: carrier,
        remote,
        mark,
        ..
    } = probe.records[0].event
    else {
        panic!("not a connect: {:?}", probe.records)
    };
    assert_eq!((carrier, remote, mark), (transport, to, 0));
    assert_eq!(probe.closed(1).await, CloseOutcome::Done);
}

#[tokio::test]
async fn a_datagram_nobody_takes_is_refused_at_once() {
    let (socket, nobody) = udp_socket().await;
    drop(socket);
    let mut probe = Stub::start(Part::Probe).await;
    let refused = "ECONNREFUSED".to_owned();
    let outcome = probe.lookup(nobody, UDP, "example.org").await;
    assert_eq!(outcome, CallOutcome::ConnectFailed(refused.clone()));
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
    assert_eq!(probe.closed(1).await, CloseOutcome::Error(refused));
}

#[tokio::test]
async fn a_refused_connection_has_a_connect_record_only() {
    let nobody = listener().address;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(nobody, Transport::Tcp, "example.org").await;
    let refused = "ECONNREFUSED".to_owned();
    assert_eq!(outcome, CallOutcome::ConnectFailed(refused));
    assert_eq!(probe.events(), ["connect 1"]);
}

#[tokio::test]
async fn a_query_without_an_answer_ends_after_the_time_given_and_was_sent_once() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("set");
    let silent = socket.local_addr().expect("bound");
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe
        .lookup_within(silent, UDP, "example.org", Duration::from_millis(50))
        .await;
    assert_eq!(outcome, CallOutcome::Timeout);
    assert_eq!(probe.events(), ["connect 1", "close 1"]);
    let mut buffer = [0; 512];
    assert!(socket.recv(&mut buffer).is_ok());
    let second = socket.recv(&mut buffer).expect_err("only one");
    assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_message_that_is_no_answer_to_the_query_is_passed_over() {
    let server = answering(|query| {
        let mut foreign = addresses_of(&query);
        foreign.metadata.id = query.id.wrapping_add(1);
        vec![bytes(foreign), bytes(addresses_of(&query))]
    })
    .await;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(server, UDP, "example.org").await;
    assert_eq!(outcome, CallOutcome::Resolved(vec![ip("192.0.2.1")]));
}

#[tokio::test]
async fn an_answer_of_the_server_that_it_failed_is_told_by_its_code() {
    let failed = |query: Message| vec![bytes(message::failure(&query, ResponseCode::ServFail))];
    let server = answering(failed).await;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(server, UDP, "example.org").await;
    assert_eq!(outcome, CallOutcome::Unresolved("SERVFAIL".to_owned()));
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_ends_the_lookup() {
    let server = answering(|_| vec![b"no answer".to_vec()]).await;
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(server, UDP, "example.org").await;
    assert!(
        matches!(&outcome, CallOutcome::Closed(how) if how.starts_with("malformed answer: ")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_closed() {
    let listener = listener();
    let to = listener.address;
    tokio::spawn(async move {
        let (mut stream, _) = listener.socket.accept().await.expect("accept");
        let length = stream.read_u16().await.expect("a length");
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.expect("a query");
    });
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(to, Transport::Tcp, "example.org").await;
    let how = "ended before an answer".to_owned();
    assert_eq!(outcome, CallOutcome::Closed(how.clone()));
    assert_eq!(probe.closed(1).await, CloseOutcome::Error(how));
}

#[tokio::test]
async fn a_name_that_is_none_is_not_asked_for() {
    let mut probe = Stub::start(Part::Probe).await;
    let nobody = "127.0.0.1:1".parse().expect("literal");
    let outcome = probe.lookup(nobody, UDP, &"a".repeat(64)).await;
    assert!(
        matches!(&outcome, CallOutcome::Closed(how) if how.starts_with("query not sent: ")),
        "{outcome:?}"
    );
    assert!(probe.records.is_empty());
}
