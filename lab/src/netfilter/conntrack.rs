//! conntrack over netlink, for the namespace the calling thread is in.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_NETFILTER};

use nix::sys::socket::{setsockopt, sockopt};

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

/// Multicast group of new entries (NFNLGRP_CONNTRACK_NEW in linux/netfilter/nfnetlink.h).
const GROUP_NEW: u32 = 1;
/// Room for events between two reads; one event is about 200 bytes, so this holds tens of thousands.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Every TCP entry that conntrack makes in one namespace, from the moment this is opened.
///
/// Events, not dumps: a dump walks the hash table of the whole machine (20 ms and more) and misses entries that came
/// and went, such as those of refused connections. The kernel queues an event before the packet goes on, so what a
/// flow made is there once the flow is over.
pub struct ConntrackWatch {
    events: Socket,
    queries: Socket,
}

impl ConntrackWatch {
    /// Opens a watch in the namespace the calling thread is in. It keeps that namespace, whoever reads it.
    ///
    /// # Errors
    /// A socket can't be opened or may not listen.
    pub fn open() -> Result<Self, NetfilterError> {
        let open = || {
            let mut events = Socket::new(NETLINK_NETFILTER)?;
            events.bind_auto()?;
            // As root of a user namespace the limit of the machine holds; what is lost is noticed all the same.
            let size = RECEIVE_BUFFER;
            if setsockopt(&events, sockopt::RcvBufForce, &size).is_err() {
                let _ = setsockopt(&events, sockopt::RcvBuf, &size);
            }
            events.add_membership(GROUP_NEW)?;
            events.set_non_blocking(true)?;
            let mut queries = Socket::new(NETLINK_NETFILTER)?;
            queries.bind_auto()?;
            queries.connect(&NetlinkAddr::new(0, 0))?;
            Ok(Self { events, queries })
        };
        open().map_err(|source| NetfilterError::Conntrack { source })
    }

    /// Entries made since the last call, as they stand now; one that is gone already, as it began.
    ///
    /// # Errors
    /// Events were lost (ENOBUFS), or a socket fails.
    pub fn take(&mut self) -> Result<Vec<ConntrackEntry>, NetfilterError> {
        self.read()
            .map_err(|source| NetfilterError::Conntrack { source })
    }

    fn read(&mut self) -> io::Result<Vec<ConntrackEntry>> {
        let mut entries = Vec::new();
        loop {
            match self.events.recv_from_full() {
                Ok((datagram, _)) => {
                    for message in messages(&datagram)? {
                        if let NetlinkPayload::InnerMessage(inner) = message.payload {
                            entries.extend(entry(inner));
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        for entry in &mut entries {
            if let Some(now) = self.query(entry)? {
                *entry = now;
            }
        }
        Ok(entries)
    }

    /// The entry as it stands now, with its counters; none when it is gone.
    fn query(&mut self, known: &ConntrackEntry) -> io::Result<Option<ConntrackEntry>> {
        let proto = match known.family {
            Family::V4 => NetfilterProtoFamily::IPv4,
            Family::V6 => NetfilterProtoFamily::IPv6,
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let wanted = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleOrig(attributes(
            &known.original,
        ))]);
        let body = NetfilterMessage::new(NetfilterHeader::new(proto, 0, 0), wanted);
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(body));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.queries.send(&bytes, 0)?;
        let (datagram, _) = self.queries.recv_from_full()?;
        let answer = messages(&datagram)?.into_iter().next();
        match answer.map(|m| m.payload) {
            Some(NetlinkPayload::InnerMessage(inner)) => {
                Ok(entry(inner).filter(|e| e.id == known.id))
            }
            Some(NetlinkPayload::Error(e)) if e.raw_code() == -nix::libc::ENOENT => Ok(None),
            Some(NetlinkPayload::Error(e)) => Err(e.to_io()),
            _ => Err(io::Error::other(
                "the kernel gave no answer about a conntrack entry",
            )),
        }
    }
}

/// The messages of a datagram; each is padded to four bytes.
pub(super) fn messages(datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<NetfilterMessage>>> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while rest.len() >= 16 {
        let message =
            NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
        let length = (message.header.length as usize).next_multiple_of(4);
        found.push(message);
        if length == 0 {
            break;
        }
        rest = rest.get(length..).unwrap_or(&[]);
    }
    Ok(found)
}

fn attributes(tuple: &ConntrackTuple) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(tuple.src.ip()),
            IPTuple::DestinationAddress(tuple.dst.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(tuple.src.port()),
            ProtoTuple::DestinationPort(tuple.dst.port()),
        ]),
    ]
}

/// None for anything but a TCP entry.
fn entry(message: NetfilterMessage) -> Option<ConntrackEntry> {
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
    let original: ConntrackTuple = original?;
    Some(ConntrackEntry {
        id,
        family: Family::of(original.dst.ip()),
        original,
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
