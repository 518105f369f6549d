//! The cluster's server.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::*;

#[rstest]
#[tokio::test]
async fn a_name_has_the_addresses_of_the_servers_family_in_order(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
    #[values(true, false)] v4: bool,
) {
    let cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&cluster, transport, v4);
    let ratings = "Ratings.default.SVC.cluster.local";
    let wanted = if v4 { "10.96.0.4" } else { "fd77::96:4" };
    assert_eq!(
        probe.lookup(to, transport, ratings).await,
        CallOutcome::Resolved(vec![ip(wanted)])
    );
    let wanted = if v4 {
        CallOutcome::Resolved(vec![ip("203.0.113.2"), ip("203.0.113.7")])
    } else {
        CallOutcome::Unresolved("NOERROR without addresses".to_owned())
    };
    assert_eq!(probe.lookup(to, transport, "example.org.").await, wanted);
}

#[rstest]
#[tokio::test]
async fn a_name_nobody_listed_does_not_exist(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
) {
    let cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&cluster, transport, true);
    let outcome = probe.lookup(to, transport, "example.com").await;
    assert_eq!(outcome, CallOutcome::Unresolved("NXDOMAIN".to_owned()));
}

#[rstest]
#[tokio::test]
async fn a_query_is_accepted_and_closed_with_the_bytes_of_both_ends(
    #[values(Transport::Udp, Transport::Tcp)] transport: Transport,
) {
    let mut cluster = cluster().await;
    let mut probe = Stub::start(Part::Probe).await;
    let to = server(&cluster, transport, true);
    probe.lookup(to, transport, "example.org").await;
    assert_eq!(cluster.closed(1).await, CloseOutcome::Done);
    assert_eq!(cluster.events(), ["accept 1", "close 1"]);
    let Event::Connect {
        result: crate::record::ConnectResult::Connected { local: client, .. },
        ..
    } = probe.records[0].event
    else {
        panic!("not connected: {:?}", probe.records)
    };
    let Event::Accept {
        transport: carrier,
        listener,
        peer,
        local,
        original_dst,
        ..
    } = &cluster.records[0].event
    else {
        panic!("not an accept: {:?}", cluster.records)
    };
    assert_eq!(
        (*carrier, *listener, *peer, *local),
        (transport, to, client, to)
    );
    if transport == Transport::Udp {
        let why = "the kernel tells it of TCP and SCTP only".to_owned();
        assert_eq!(*original_dst, OriginalDst::None(why));
    }
    let (received, sent) = cluster.carried(1);
    assert_eq!(probe.carried(1), (sent, received));
    assert!(received > 12 && sent > received, "{received} {sent}");
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    let name = Name::from_ascii(name).expect("literal");
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().expect("encodes")
}

async fn read_framed(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.expect("a length");
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.expect("a message");
    Message::from_vec(&bytes).expect("a DNS message")
}

#[tokio::test]
async fn a_connection_carries_one_query_after_the_other_however_it_is_cut() {
    let mut cluster = cluster().await;
    let mut stream = TcpStream::connect(server(&cluster, Transport::Tcp, true))
        .await
        .expect("connect");
    stream.set_nodelay(true).expect("set");
    let mut bytes = Vec::new();
    for (id, name) in [
        (1, "example.org."),
        (2, "example.com."),
        (3, "example.org."),
    ] {
        let question = question(id, name);
        bytes.extend((question.len() as u16).to_be_bytes());
        bytes.extend(question);
    }
    // The length of the first alone, in two pieces; then all the rest at once.
    for piece in [&bytes[..1], &bytes[1..2], &bytes[2..]] {
        stream.write_all(piece).await.expect("write");
        stream.flush().await.expect("flush");
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = read_framed(&mut stream).await;
        answers.push((answer.id, answer.response_code, answer.answers.len()));
    }
    let found = ResponseCode::NoError;
    let wanted = [(1, found, 2), (2, ResponseCode::NXDomain, 0), (3, found, 2)];
    assert_eq!(answers, wanted);
    drop(stream);
    assert_eq!(cluster.closed(1).await, CloseOutcome::Done);
    assert_eq!(cluster.events(), ["accept 1", "close 1"]);
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_is_logged_so() {
    let mut cluster = cluster().await;
    let mut stream = TcpStream::connect(server(&cluster, Transport::Tcp, true))
        .await
        .expect("connect");
    stream.write_all(&[0, 40, 1, 2, 3]).await.expect("write");
    stream.shutdown().await.expect("shutdown");
    let outcome = cluster.closed(1).await;
    assert_eq!(
        outcome,
        CloseOutcome::Error("ended within a message".to_owned())
    );
}

#[tokio::test]
async fn a_datagram_that_is_no_query_is_logged_and_the_next_one_is_served() {
    let mut cluster = cluster().await;
    let to = server(&cluster, Transport::Udp, true);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    socket.send_to(b"hello?", to).await.expect("send");
    let outcome = cluster.closed(1).await;
    assert!(
        matches!(&outcome, CloseOutcome::Error(why) if why.starts_with("no DNS header: ")),
        "{outcome:?}"
    );
    let mut cut = question(77, "example.org.");
    cut.truncate(20);
    socket.send_to(&cut, to).await.expect("send");
    let mut buffer = [0; 512];
    let answered = timeout(DEADLINE, socket.recv_from(&mut buffer)).await;
    let (length, from) = answered.expect("in time").expect("received");
    let answer = Message::from_vec(&buffer[..length]).expect("a DNS message");
    // The first datagram got none, or its answer would be here.
    assert_eq!(
        (from, answer.id, answer.response_code),
        (to, 77, ResponseCode::FormErr)
    );
    let mut probe = Stub::start(Part::Probe).await;
    let outcome = probe.lookup(to, Transport::Udp, "example.org").await;
    assert!(matches!(outcome, CallOutcome::Resolved(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_server_on_every_address_is_refused() {
    let config = DnsConfig {
        listen: vec!["0.0.0.0:53".parse().expect("literal")],
        names: Vec::new(),
    };
    let error = crate::dns::cluster::bind(&config).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "DNS server cannot listen on 0.0.0.0:53: an answer must leave from the address that was asked; \
         list particular addresses"
    );
}
