//! Reads what a container has of network: interfaces, addresses, routes, listeners. Changes nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, ip_mask_to_prefix};
use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex, sys::socket::SockaddrStorage};

use super::{NetError, in_namespace_of};
use crate::import::{Interface, Seen};

/// State of a socket that listens, in /proc/net/tcp (`TCP_LISTEN` in net/tcp_states.h).
const LISTEN: &str = "0A";
/// Flag of a route that has a gateway (`RTF_GATEWAY` in linux/route.h).
const GATEWAY: u32 = 0x2;

/// What the network namespace of a process has.
///
/// # Errors
/// There is no such process, or the kernel lets the caller not look.
pub fn seen_of(pid: u32) -> Result<Seen, NetError> {
    let failed = |source| NetError::Visit {
        pid,
        what: "read",
        source,
    };
    in_namespace_of(pid, || look(pid))?.map_err(failed)
}

/// Runs in the namespace.
fn look(pid: u32) -> io::Result<Seen> {
    let mut interfaces: BTreeMap<u32, Interface> = BTreeMap::new();
    for link in &if_nameindex()? {
        let name = link.name().to_string_lossy().into_owned();
        if name != "lo" {
            let addresses = Vec::new();
            interfaces.insert(link.index(), Interface { name, addresses });
        }
    }
    for found in getifaddrs()? {
        let net = found.address.as_ref().zip(found.netmask.as_ref());
        let Some(net) = net.and_then(|(ip, mask)| prefixed(ip, mask)) else {
            continue;
        };
        let at = interfaces
            .values_mut()
            .find(|it| it.name == found.interface_name);
        if let Some(interface) = at {
            interface.addresses.push(net);
        }
    }
    let mut seen = Seen {
        pid,
        interfaces: interfaces.into_values().collect(),
        ..Seen::default()
    };
    routes(&mut seen)?;
    for file in ["tcp", "tcp6"] {
        let text = optional(&format!("/proc/thread-self/net/{file}"))?;
        seen.listeners.extend(text.lines().filter_map(listener));
    }
    seen.listeners.sort_unstable();
    seen.listeners.dedup();
    Ok(seen)
}

/// None of a link-local address: every interface has one.
fn prefixed(ip: &SockaddrStorage, mask: &SockaddrStorage) -> Option<IpNet> {
    let net = match (ip.as_sockaddr_in(), ip.as_sockaddr_in6()) {
        (Some(ip), _) => (IpAddr::V4(ip.ip()), IpAddr::V4(mask.as_sockaddr_in()?.ip())),
        (_, Some(ip)) if ip.ip().is_unicast_link_local() => return None,
        (_, Some(ip)) => (
            IpAddr::V6(ip.ip()),
            IpAddr::V6(mask.as_sockaddr_in6()?.ip()),
        ),
        _ => return None,
    };
    IpNet::new(net.0, ip_mask_to_prefix(net.1).ok()?).ok()
}

/// /proc/net/route and ipv6_route: numbers in hexadecimal, IPv4 addresses as the processor has them.
fn routes(seen: &mut Seen) -> io::Result<()> {
    let v4 = optional("/proc/thread-self/net/route")?;
    for line in v4.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, to, gateway, flags, ..] = words[..] else {
            continue;
        };
        let number = |text| u32::from_str_radix(text, 16).unwrap_or(0);
        let via = number(flags) & GATEWAY != 0;
        let gateway = Ipv4Addr::from(number(gateway).to_ne_bytes());
        match (number(to), via) {
            (0, via) => {
                let route = (interface.to_owned(), via.then_some(gateway.into()));
                seen.default_routes.push(route);
            }
            (_, true) => seen.other_routes += 1,
            (_, false) => {}
        }
    }
    let v6 = optional("/proc/thread-self/net/ipv6_route")?;
    for line in v6.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, prefix, _, _, gateway, _, _, _, flags, interface] = words[..] else {
            continue;
        };
        let via = u32::from_str_radix(flags, 16).unwrap_or(0) & GATEWAY != 0;
        let gateway = u128::from_str_radix(gateway, 16).map(Ipv6Addr::from);
        match (prefix, via, gateway) {
            ("00", true, Ok(gateway)) => {
                let route = (interface.to_owned(), Some(gateway.into()));
                seen.default_routes.push(route);
            }
            (_, true, _) => seen.other_routes += 1,
            _ => {}
        }
    }
    Ok(())
}

/// Port and user of a socket that listens, not on loopback alone.
fn listener(line: &str) -> Option<(u16, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state, uid) = (words.get(1)?, words.get(3)?, words.get(7)?);
    let (ip, port) = local.split_once(':')?;
    let loopback = ["0100007F", "00000000000000000000000001000000"].contains(&ip);
    let port = u16::from_str_radix(port, 16).ok()?;
    (*state == LISTEN && !loopback).then_some((port, uid.parse().ok()?))
}

/// A kernel without IPv6 has not all of them.
fn optional(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::on_all_addresses("   0: 00000000:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 x", Some((9080, 1000)))]
    #[case::on_loopback_alone(
        "   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1 x",
        None
    )]
    #[case::a_connection(
        "   0: 0200000A:2378 0300000A:0050 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 x",
        None
    )]
    #[case::the_heading(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        None
    )]
    fn who_listens_is_read_from_proc(#[case] line: &str, #[case] expected: Option<(u16, u32)>) {
        assert_eq!(listener(line), expected);
    }
}
