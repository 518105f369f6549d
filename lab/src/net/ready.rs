//! When a link or an address is ready for packets: the kernel brings both about by itself, a moment after it was told.

use std::{
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use super::{Inside, NetError};

/// A matter of milliseconds; this is for what never comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until a link carries packets, which is once the kernel has noticed that its other end is up. What comes
/// earlier is dropped, and tried again after a second.
///
/// # Errors
/// No such link, or it does not come up in time.
pub fn await_carrier(inside: &Inside, link: &str) -> Result<(), NetError> {
    until(&format!("interface {link} comes up"), || {
        inside.netlink.is_up(link)
    })
}

/// Waits until packets to an address of the namespace the calling thread is in arrive: the kernel adds an IPv6 address
/// at once, and its own route to it a moment later. Of IPv4 there is nothing to wait for.
///
/// # Errors
/// The routes can't be read, or the route does not come in time.
pub fn await_address(address: IpAddr) -> Result<(), NetError> {
    let IpAddr::V6(ip) = address else {
        return Ok(());
    };
    // Destination, length 128.
    let route = format!("{:032x} 80 ", ip.to_bits());
    let table = "/proc/thread-self/net/ipv6_route";
    until(&format!("{ip} has a local route"), || {
        let routes = fs::read_to_string(table).map_err(|source| NetError::Routes {
            table: table.to_owned(),
            source,
        })?;
        Ok(routes.lines().any(|line| line.starts_with(&route)))
    })
}

/// Longest time the kernel holds back an acknowledgement in the hope of data to go with it (`TCP_DELACK_MAX` in
/// include/net/tcp.h), and a little more.
const DELAYED_ACK: Duration = Duration::from_millis(250);

/// Waits until all that sockets of the namespace the calling thread is in have sent over open connections is
/// acknowledged. The acknowledgement of the last data is a packet by itself, which may come up to 200 ms later. What is
/// not acknowledged by then waits for another reason, and is not waited for.
///
/// # Errors
/// The kernel's table of sockets can't be read.
pub fn await_acknowledged() -> Result<(), NetError> {
    let deadline = Instant::now() + DELAYED_ACK;
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    for table in tables {
        while Instant::now() < deadline && has_unacknowledged(table)? {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn has_unacknowledged(table: &str) -> Result<bool, NetError> {
    let sockets = fs::read_to_string(table).map_err(|source| NetError::Routes {
        table: table.to_owned(),
        source,
    })?;
    Ok(sockets.lines().skip(1).any(waits_for_acknowledgement))
}

/// Of a line of the table: an established connection (01) whose send queue, from the first byte that is not acknowledged,
/// is not empty (`get_tcp4_sock` in net/ipv4/tcp_ipv4.c).
fn waits_for_acknowledgement(line: &str) -> bool {
    let mut words = line.split_whitespace().skip(3);
    let (state, queues) = (words.next(), words.next());
    let sent = queues.and_then(|it| it.split(':').next());
    state == Some("01") && sent.is_some_and(|it| it.bytes().any(|digit| digit != b'0'))
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool, NetError>) -> Result<(), NetError> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(NetError::NotReady {
                what: what.to_owned(),
                seconds: PATIENCE.as_secs(),
            });
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::waits_for_acknowledgement;

    #[rstest]
    #[case::acknowledged("01 00000000:00000000", false)]
    #[case::received_and_not_read("01 00000000:00000012", false)]
    #[case::sent("01 00000012:00000000", true)]
    #[case::closing("04 00000001:00000000", false)]
    fn a_connection_waits_while_its_send_queue_is_not_empty(
        #[case] words: &str,
        #[case] waits: bool,
    ) {
        let line = format!("   1: 0100007F:2328 0100007F:9C40 {words} 00:00000000 00000000 0 0 1");
        assert_eq!(waits_for_acknowledgement(&line), waits);
    }
}
