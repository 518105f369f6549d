//! DNS messages on a TCP connection: each is preceded by its length in two bytes (RFC 1035, 4.2.2).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::counted_io::Traffic;

/// Reads the next message; nothing when the other end is done. A connection that ends within a message is an error.
pub(crate) async fn read(stream: &mut TcpStream, traffic: &Traffic) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    let first = stream.read(&mut length).await?;
    traffic.add_received(first);
    match first {
        0 => return Ok(None),
        1 => {
            length[1] = stream.read_u8().await?;
            traffic.add_received(1);
        }
        _ => {}
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    traffic.add_received(message.len());
    Ok(Some(message))
}

/// Writes a message. One longer than 65,535 bytes is an error and not written.
pub(crate) async fn write(
    stream: &mut TcpStream,
    traffic: &Traffic,
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len())
        .map_err(|_| io::Error::other("a DNS message of more than 65,535 bytes"))?;
    // In one piece: a segment with the length alone is legal, and trips up careless readers.
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    traffic.add_sent(framed.len());
    Ok(())
}
