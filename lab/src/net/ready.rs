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
