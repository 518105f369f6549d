//! conntrack's netlink messages to entries and back.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use hoplab_proxies::record::Transport;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, Nla,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple,
        Protocol, Tuple,
    },
};

use crate::{
    evidence::{ConntrackEntry, ConntrackTuple, Tracked},
    rules::{Counter, Family},
};

// Attributes the crate hands over undecoded; numbers from linux/netfilter/nfnetlink_conntrack.h.
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
const NLA_TYPE_MASK: u16 = 0x3fff;

// States after which no packet of a connection is due; from linux/netfilter/nf_conntrack_tcp.h.
const TCP_CONNTRACK_TIME_WAIT: u8 = 7;
const TCP_CONNTRACK_CLOSE: u8 = 8;

/// What a message says of an entry.
pub(super) struct Said {
    pub entry: ConntrackEntry,
    /// The entry was just made.
    pub new: bool,
    /// The TCP connection is over; none where the message does not tell.
    pub over: Option<bool>,
}

/// What a datagram says.
pub(super) fn said(datagram: &[u8]) -> io::Result<Vec<Said>> {
    let mut all = Vec::new();
    for message in messages(datagram)? {
        // The kernel marks only the first message of an entry so (ctnetlink_conntrack_event).
        let new = message.header.flags & NLM_F_CREATE != 0;
        if let NetlinkPayload::InnerMessage(inner) = message.payload
            && let Some(Tracked { entry, state, .. }) = entry(inner)
        {
            let over = state.map(|it| [TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE].contains(&it));
            all.push(Said { entry, new, over });
        }
    }
    Ok(all)
}

/// What the kernel answered about an entry; none when it is gone.
pub(super) fn answer(datagram: &[u8]) -> io::Result<Option<ConntrackEntry>> {
    let answer = messages(datagram)?.into_iter().next();
    match answer.map(|m| m.payload) {
        Some(NetlinkPayload::InnerMessage(inner)) => Ok(entry(inner).map(|it| it.entry)),
        Some(NetlinkPayload::Error(e)) if e.raw_code() == -nix::libc::ENOENT => Ok(None),
        Some(NetlinkPayload::Error(e)) => Err(e.to_io()),
        _ => Err(io::Error::other(
            "the kernel gave no answer about a conntrack entry",
        )),
    }
}

/// Asks for every entry of the namespace.
pub(super) fn dump() -> Vec<u8> {
    let all = ConntrackMessage::Get(Vec::new());
    bytes(
        NetfilterProtoFamily::Unspec,
        all,
        NLM_F_REQUEST | NLM_F_DUMP,
    )
}

/// Entries of TCP and UDP in a part of a dump, and whether it is the last.
pub(super) fn part(datagram: &[u8]) -> io::Result<(Vec<Tracked>, bool)> {
    let (mut entries, mut last) = (Vec::new(), false);
    for message in messages(datagram)? {
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => entries.extend(entry(inner)),
            NetlinkPayload::Done(_) => last = true,
            NetlinkPayload::Error(e) => return Err(e.to_io()),
            _ => {}
        }
    }
    Ok((entries, last))
}

/// Asks for an entry by its tuple and zone.
pub(super) fn request(known: &ConntrackEntry) -> Vec<u8> {
    message(known, ConntrackMessage::Get, NLM_F_REQUEST)
}

/// Asks to forget an entry, by its tuple and zone; the kernel answers either way.
pub(super) fn removal(known: &ConntrackEntry) -> Vec<u8> {
    message(known, ConntrackMessage::Delete, NLM_F_REQUEST | NLM_F_ACK)
}

/// Asks to forget every entry of the namespace.
pub(super) fn flush() -> Vec<u8> {
    bytes(
        NetfilterProtoFamily::Unspec,
        ConntrackMessage::Delete(Vec::new()),
        NLM_F_REQUEST | NLM_F_ACK,
    )
}

/// What the kernel answered to a [`removal`]; that there is no such entry is as good.
pub(super) fn removed(datagram: &[u8]) -> io::Result<()> {
    match messages(datagram)?.into_iter().next().map(|m| m.payload) {
        Some(NetlinkPayload::Error(e)) if [0, -nix::libc::ENOENT].contains(&e.raw_code()) => Ok(()),
        Some(NetlinkPayload::Error(e)) => Err(e.to_io()),
        _ => Err(io::Error::other(
            "the kernel did not say that a conntrack entry is gone",
        )),
    }
}

fn message(
    known: &ConntrackEntry,
    kind: fn(Vec<ConntrackAttribute>) -> ConntrackMessage,
    flags: u16,
) -> Vec<u8> {
    let proto = match known.family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    let tuple = attributes(&known.original, known.transport);
    let mut wanted = vec![ConntrackAttribute::CtaTupleOrig(tuple)];
    if let Some(zone) = known.zone {
        let zone = DefaultNla::new(CTA_ZONE, zone.to_be_bytes().to_vec());
        wanted.push(ConntrackAttribute::Other(zone));
    }
    bytes(proto, kind(wanted), flags)
}

fn bytes(proto: NetfilterProtoFamily, message: ConntrackMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let body = NetfilterMessage::new(NetfilterHeader::new(proto, 0, 0), message);
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(body));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// The messages of a datagram; each is padded to four bytes.
pub(in crate::netfilter) fn messages(
    datagram: &[u8],
) -> io::Result<Vec<NetlinkMessage<NetfilterMessage>>> {
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

fn attributes(tuple: &ConntrackTuple, transport: Transport) -> Vec<Tuple> {
    let protocol = match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(tuple.src.ip()),
            IPTuple::DestinationAddress(tuple.dst.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(protocol),
            ProtoTuple::SourcePort(tuple.src.port()),
            ProtoTuple::DestinationPort(tuple.dst.port()),
        ]),
    ]
}

/// An entry with its state; none for anything but TCP and UDP.
fn entry(message: NetfilterMessage) -> Option<Tracked> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return None;
    };
    let mut original = None;
    let mut reply = None;
    let (mut id, mut status, mut mark, mut zone) = (0, 0, 0, None);
    let (mut state, mut expires) = (None, None);
    let (mut sent, mut answered) = (None, None);
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => original = Some(tuple(parts)?),
            ConntrackAttribute::CtaTupleReply(parts) => reply = Some(tuple(parts)?),
            ConntrackAttribute::CtaStatus(bits) => status = bits.bits(),
            ConntrackAttribute::CtaMark(bits) => mark = *bits,
            ConntrackAttribute::CtaProtoInfo(parts) => state = state.or(state_of(parts)),
            ConntrackAttribute::CtaTimeout(seconds) => expires = Some(*seconds),
            ConntrackAttribute::Other(other) => match other.kind() & NLA_TYPE_MASK {
                CTA_ZONE => zone = be16(&value(other)),
                CTA_ID => id = be32(&value(other))?,
                CTA_COUNTERS_ORIG => sent = counter(&value(other)),
                CTA_COUNTERS_REPLY => answered = counter(&value(other)),
                _ => {}
            },
            _ => {}
        }
    }
    let (original, transport) = original?;
    let (reply, _) = reply?;
    let entry = ConntrackEntry {
        id,
        transport,
        zone,
        family: Family::of(original.dst.ip()),
        original,
        reply,
        status,
        mark,
        original_counter: sent,
        reply_counter: answered,
    };
    Some(Tracked {
        entry,
        state,
        expires,
    })
}

/// `TCP_CONNTRACK_*`.
fn state_of(parts: &[ProtoInfo]) -> Option<u8> {
    let tcp = parts.iter().find_map(|part| match part {
        ProtoInfo::TCP(parts) => Some(parts),
        _ => None,
    });
    tcp?.iter().find_map(|part| match part {
        ProtoInfoTCP::State(state) => Some(*state),
        _ => None,
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

fn be16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
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

/// None for anything but TCP and UDP.
fn tuple(parts: &[Tuple]) -> Option<(ConntrackTuple, Transport)> {
    let (mut src, mut dst): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut sport, mut dport, mut transport) = (None, None, None);
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
                        ProtoTuple::Protocol(Protocol::Tcp) => transport = Some(Transport::Tcp),
                        ProtoTuple::Protocol(Protocol::Udp) => transport = Some(Transport::Udp),
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
    let tuple = ConntrackTuple {
        src: SocketAddr::new(src?, sport?),
        dst: SocketAddr::new(dst?, dport?),
    };
    Some((tuple, transport?))
}
