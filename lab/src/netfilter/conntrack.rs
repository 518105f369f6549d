//! conntrack over netlink, for the namespace the calling thread is in.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_NETFILTER};

use super::NetfilterError;
use crate::{
    evidence::{ConntrackEntry, ConntrackTuple},
    rules::{Counter, Family},
};

// Attributes the crate hands over undecoded; numbers from linux/netfilter/nfnetlink_conntrack.h.
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ID: u16 = 12;
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Reads the TCP entries of one family.
///
/// # Errors
/// The socket fails, or the kernel answers with an error.
pub fn dump(family: Family) -> Result<Vec<ConntrackEntry>, NetfilterError> {
    read(family).map_err(|source| NetfilterError::Conntrack { source })
}

fn read(family: Family) -> io::Result<Vec<ConntrackEntry>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let proto = match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let body = NetfilterMessage::new(
        NetfilterHeader::new(proto, 0, 0),
        ConntrackMessage::Get(vec![]),
    );
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(body));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut entries = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while rest.len() >= 16 {
            let message =
                NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(entries),
                NetlinkPayload::Error(e) => return Err(e.to_io()),
                NetlinkPayload::InnerMessage(inner) => entries.extend(entry(family, inner)),
                _ => {}
            }
            // Messages are padded to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            if length == 0 || length > rest.len() {
                break;
            }
            rest = &rest[length..];
        }
    }
}

fn entry(family: Family, message: NetfilterMessage) -> Option<ConntrackEntry> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return None;
    };
    let mut original = None;
    let mut reply = None;
    let (mut id, mut status, mut mark) = (0, 0, 0);
    let (mut sent, mut answered) = (None, None);
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => original = Some(tuple(parts)?),
            ConntrackAttribute::CtaTupleReply(parts) => reply = Some(tuple(parts)?),
            ConntrackAttribute::CtaStatus(bits) => status = bits.bits(),
            ConntrackAttribute::CtaMark(bits) => mark = *bits,
            ConntrackAttribute::Other(other) => match other.kind() & NLA_TYPE_MASK {
                CTA_ID => id = be32(&value(other))?,
                CTA_COUNTERS_ORIG => sent = counter(&value(other)),
                CTA_COUNTERS_REPLY => answered = counter(&value(other)),
                _ => {}
            },
            _ => {}
        }
    }
    Some(ConntrackEntry {
        id,
        family,
        original: original?,
        reply: reply?,
        status,
        mark,
        original_counter: sent,
        reply_counter: answered,
    })
}

fn value(attribute: &impl Nla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Nested CTA_COUNTERS: two 64-bit big endian values.
fn counter(bytes: &[u8]) -> Option<Counter> {
    let (mut packets, mut octets) = (None, None);
    let mut rest = bytes;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & NLA_TYPE_MASK;
        let body = rest.get(4..length)?;
        let number = body
            .get(..8)
            .and_then(|b| b.try_into().ok())
            .map(u64::from_be_bytes);
        match kind {
            CTA_COUNTERS_PACKETS => packets = number,
            CTA_COUNTERS_BYTES => octets = number,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(Counter {
        packets: packets?,
        bytes: octets?,
    })
}

/// None for anything but TCP.
fn tuple(parts: &[Tuple]) -> Option<ConntrackTuple> {
    let (mut src, mut dst): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut sport, mut dport) = (None, None);
    for part in parts {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(a) => src = Some(*a),
                        IPTuple::DestinationAddress(a) => dst = Some(*a),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(numbers) => {
                for number in numbers {
                    match number {
                        ProtoTuple::Protocol(Protocol::Tcp) => {}
                        ProtoTuple::Protocol(_) => return None,
                        ProtoTuple::SourcePort(p) => sport = Some(*p),
                        ProtoTuple::DestinationPort(p) => dport = Some(*p),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(ConntrackTuple {
        src: SocketAddr::new(src?, sport?),
        dst: SocketAddr::new(dst?, dport?),
    })
}
