//! The relay over real loopback sockets: a client, the two legs, a server.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::listen::bind;

/// No test needs as long; one that hangs fails by name.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a blocked socket must stay blocked to count as blocked.
const BLOCKED: Duration = Duration::from_millis(300);

struct Rig {
    client: TcpStream,
    server: TcpStream,
    client_leg: Arc<Traffic>,
    upstream_leg: Arc<Traffic>,
    relay: JoinHandle<Ending>,
}

impl Rig {
    async fn start() -> Self {
        let (client, near) = pair().await;
        let (far, server) = pair().await;
        let (client_leg, upstream_leg) =
            (Arc::new(Traffic::default()), Arc::new(Traffic::default()));
        let (near_traffic, far_traffic) = (Arc::clone(&client_leg), Arc::clone(&upstream_leg));
        let relay = tokio::spawn(async move {
            let client = Leg {
                side: Side::Client,
                stream: &near,
                traffic: &near_traffic,
            };
            let upstream = Leg {
                side: Side::Upstream,
                stream: &far,
                traffic: &far_traffic,
            };
            relay(client, upstream, &Counter::default(), &Counter::default()).await
        });
        Self {
            client,
            server,
            client_leg,
            upstream_leg,
            relay,
        }
    }
}

/// Both ends of a new connection: the one that connected and the one that was accepted.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = bind("127.0.0.1:0".parse().expect("literal")).expect("bind");
    let (connected, accepted) = tokio::join!(
        TcpStream::connect(listener.address),
        listener.socket.accept()
    );
    (connected.expect("connect"), accepted.expect("accept").0)
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("set linger");
    drop(stream);
}

async fn read_error(stream: &mut TcpStream) -> io::ErrorKind {
    let mut scrap = Vec::new();
    in_time("read until an error", stream.read_to_end(&mut scrap))
        .await
        .expect_err("no reset")
        .kind()
}

async fn broken_side(relay: JoinHandle<Ending>) -> Side {
    match in_time("relay ends", relay).await.expect("no panic") {
        Ending::Broken(broken) => broken.side,
        Ending::Done => panic!("the relay ended in order"),
    }
}

#[tokio::test]
async fn a_client_that_ended_its_side_still_receives() {
    let mut rig = Rig::start().await;
    rig.client.write_all(b"ask").await.expect("write");
    rig.client.shutdown().await.expect("shutdown");
    let mut asked = String::new();
    in_time(
        "server reads to the end",
        rig.server.read_to_string(&mut asked),
    )
    .await
    .expect("read");
    rig.server.write_all(b"the answer").await.expect("write");
    drop(rig.server);
    let mut answered = String::new();
    in_time(
        "client reads to the end",
        rig.client.read_to_string(&mut answered),
    )
    .await
    .expect("read");
    assert_eq!((asked.as_str(), answered.as_str()), ("ask", "the answer"));
    assert!(matches!(
        in_time("relay ends", rig.relay).await,
        Ok(Ending::Done)
    ));
    let counted = [&rig.client_leg, &rig.upstream_leg].map(|leg| (leg.received(), leg.sent()));
    assert_eq!(counted, [(3, 10), (10, 3)]);
}

#[tokio::test]
async fn a_reset_of_the_client_becomes_a_reset_of_the_upstream() {
    let mut rig = Rig::start().await;
    reset(rig.client);
    assert_eq!(
        read_error(&mut rig.server).await,
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(broken_side(rig.relay).await, Side::Client);
}

#[tokio::test]
async fn a_reset_of_the_upstream_becomes_a_reset_of_the_client() {
    let mut rig = Rig::start().await;
    reset(rig.server);
    assert_eq!(
        read_error(&mut rig.client).await,
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(broken_side(rig.relay).await, Side::Upstream);
}

#[tokio::test]
async fn a_reset_after_a_half_close_is_noticed() {
    let mut rig = Rig::start().await;
    rig.client.shutdown().await.expect("shutdown");
    let ended = in_time("end of data at the server", rig.server.read(&mut [0]))
        .await
        .expect("read");
    assert_eq!(ended, 0);
    reset(rig.client);
    assert_eq!(broken_side(rig.relay).await, Side::Client);
    // The server had the end of data before: the reset shows when it writes.
    let error = in_time("write fails", async {
        loop {
            if let Err(error) = rig.server.write_all(b"late").await {
                return error;
            }
        }
    })
    .await;
    assert!(crate::errno::is_reset(&error), "{error}");
}

#[tokio::test]
async fn what_a_side_said_before_its_reset_is_delivered() {
    let mut rig = Rig::start().await;
    rig.server.write_all(b"bye").await.expect("write");
    reset(rig.server);
    let mut said = [0; 3];
    in_time("client reads", rig.client.read_exact(&mut said))
        .await
        .expect("read");
    assert_eq!(&said, b"bye");
    assert_eq!(
        read_error(&mut rig.client).await,
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_reset_ends_a_relay_that_waits_for_a_slow_reader() {
    let rig = Rig::start().await;
    fill(&rig.server).await;
    reset(rig.server);
    assert_eq!(broken_side(rig.relay).await, Side::Upstream);
}

#[tokio::test]
async fn a_slow_reader_blocks_the_sender_and_the_relay_holds_one_buffer() {
    let mut rig = Rig::start().await;
    let sent = fill(&rig.server).await;
    let held = rig.upstream_leg.received() - rig.client_leg.sent();
    assert!(held <= BUFFER as u64, "the relay holds {held} bytes");
    drop(rig.server);
    let mut all = Vec::new();
    in_time("client reads everything", rig.client.read_to_end(&mut all))
        .await
        .expect("read");
    assert_eq!(all.len(), sent);
}

/// Writes until the sender stays blocked; gives the number of bytes written.
async fn fill(stream: &TcpStream) -> usize {
    let chunk = [7; 64 * 1024];
    let mut total = 0;
    while timeout(BLOCKED, stream.writable()).await.is_ok() {
        match stream.try_write(&chunk) {
            Ok(written) => total += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("write: {error}"),
        }
        assert!(total < 256 * 1024 * 1024, "the sender is never blocked");
    }
    total
}
