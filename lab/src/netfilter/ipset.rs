//! Sets of addresses that iptables asks with `-m set`, made over netlink: no program `ipset` is needed.
//!
//! Numbers are those of linux/netfilter/ipset/ip_set.h; a set is `hash:ip`, as Istio's agent makes it.

use std::{io, net::IpAddr};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, Nla};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::NetfilterError;
use crate::rules::Family;

const SUBSYSTEM: u16 = 6 << 8;
const CREATE: u16 = SUBSYSTEM | 2;
const ADD: u16 = SUBSYSTEM | 9;
/// The oldest protocol that late kernels still speak.
const PROTOCOL: u8 = 6;

const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_TYPENAME: u16 = 3;
const IPSET_ATTR_REVISION: u16 = 4;
const IPSET_ATTR_FAMILY: u16 = 5;
const IPSET_ATTR_DATA: u16 = 7;
const IPSET_ATTR_IP: u16 = 1;
const IPSET_ATTR_IPADDR: [u16; 2] = [1, 2];
const NESTED: u16 = 1 << 15;
const NET_BYTEORDER: u16 = 1 << 14;

/// Makes a set of addresses in the network namespace the calling thread is in.
///
/// # Errors
/// The kernel has no sets, knows one of this name, or refuses an address.
pub fn make_set(name: &str, family: Family, members: &[IpAddr]) -> Result<(), NetfilterError> {
    make(name, family, members).map_err(|source| NetfilterError::Tables {
        what: "make a set of addresses (ipset)",
        source,
    })
}

fn make(name: &str, family: Family, members: &[IpAddr]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let set = [
        byte(IPSET_ATTR_PROTOCOL, PROTOCOL),
        text(IPSET_ATTR_SETNAME, name),
    ];
    let number = match family {
        Family::V4 => nix::libc::AF_INET,
        Family::V6 => nix::libc::AF_INET6,
    };
    let number = u8::try_from(number).map_err(io::Error::other)?;
    let mut created = set.to_vec();
    created.extend([
        text(IPSET_ATTR_TYPENAME, "hash:ip"),
        byte(IPSET_ATTR_REVISION, 0),
        byte(IPSET_ATTR_FAMILY, number),
        nested(IPSET_ATTR_DATA, &[]),
    ]);
    ask(&socket, CREATE, number, NLM_F_CREATE | NLM_F_EXCL, &created)?;
    for member in members {
        let mut added = set.to_vec();
        added.push(nested(IPSET_ATTR_DATA, &[address(*member)]));
        ask(&socket, ADD, number, 0, &added)?;
    }
    Ok(())
}

fn byte(kind: u16, value: u8) -> DefaultNla {
    DefaultNla::new(kind, vec![value])
}

fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, [value.as_bytes(), b"\0"].concat())
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NESTED, bytes(inner))
}

fn address(ip: IpAddr) -> DefaultNla {
    let [v4, v6] = IPSET_ATTR_IPADDR.map(|kind| kind | NET_BYTEORDER);
    let inner = match ip {
        IpAddr::V4(ip) => DefaultNla::new(v4, ip.octets().to_vec()),
        IpAddr::V6(ip) => DefaultNla::new(v6, ip.octets().to_vec()),
    };
    nested(IPSET_ATTR_IP, &[inner])
}

fn bytes(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut all = Vec::new();
    for attribute in attributes {
        let length = 4 + attribute.value_len();
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        all.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        all.extend(attribute.kind().to_ne_bytes());
        all.extend(value);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

/// Sends a request and reads its acknowledgement. The crate's messages know nothing of this subsystem.
fn ask(
    socket: &Socket,
    kind: u16,
    family: u8,
    flags: u16,
    attributes: &[DefaultNla],
) -> io::Result<()> {
    const HEADER: usize = 16;
    let attributes = bytes(attributes);
    let length = u32::try_from(HEADER + 4 + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, 0, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let error = answer.get(HEADER..HEADER + 4);
    let error = error
        .and_then(|it| it.try_into().ok())
        .map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}
