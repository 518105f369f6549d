//! Thousands of connections at once.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::gateway::{gateway, listener};
use super::*;

const CONNECTIONS: usize = 2000;

/// All are open at once: nobody is answered before everybody has asked.
#[tokio::test]
async fn two_thousand_connections_are_relayed_at_once() {
    open_files::raise_limit().expect("raise the limit of open files");
    let upstream = listener();
    let mut gateway = gateway(vec![upstream.address], CONNECTIONS).await;
    let to = gateway.on_loopback(0);
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS as u64 {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(to).await.expect("connect");
            stream.write_u64(number).await.expect("ask");
            assert_eq!(stream.read_u64().await.expect("an answer"), number);
        });
    }
    let everybody_asks = async {
        let mut asked = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = upstream.socket.accept().await.expect("accept");
            let number = stream.read_u64().await.expect("a question");
            asked.push((stream, number));
        }
        asked
    };
    for (mut stream, number) in timeout(DEADLINE, everybody_asks).await.expect("in time") {
        stream.write_u64(number).await.expect("answer");
    }
    timeout(DEADLINE, clients.join_all())
        .await
        .expect("everybody is answered in time");
    let mut done = 0;
    while done < 2 * CONNECTIONS {
        let Line::Record(record) = gateway.next_line().await else {
            panic!("not a record")
        };
        done += usize::from(outcome(&record) == Some(CloseOutcome::Done));
    }
}
