//! A traced packet as rules see it.

use super::{Known, Namespace, modelled::Marks};
use crate::{
    model::Packet,
    rules::{CtState, Protocol, TcpFlags},
    traced::{Header, Hook, Owner, Station, TracedPacket},
};

/// The packet as rules see it at a station; none for a protocol without a name.
pub(super) fn as_seen(
    namespace: &Namespace<'_>,
    (packet, known): (&TracedPacket, &Known<'_>),
    station: &Station,
    marks: Marks,
) -> Option<Packet> {
    let header = &station.header;
    let name = |index: Option<u32>| namespace.interfaces.get(&index?).cloned();
    let output = matches!(station.hook, Hook::Output | Hook::Postrouting);
    let owner = match packet.owner {
        Owner::Socket { uid, gid } if output => Some((uid, gid)),
        Owner::Missing(_) if output => known.owner,
        _ => None,
    };
    let kind = |address| namespace.host.map(|host| host.kind(address));
    Some(Packet {
        in_iface: name(station.input),
        out_iface: name(station.output),
        owner,
        mark: marks.packet,
        connmark: marks.connection,
        zone: marks.zone,
        state: state(packet, station),
        src_kind: kind(header.source),
        dst_kind: kind(header.destination),
        ..blank(header)
    })
}

/// A packet with this header, of which nothing else is known.
pub(super) fn blank(header: &Header) -> Packet {
    // ECE and CWR have no name in rules.
    let flags = header.tcp.map_or(0, |tcp| tcp.flags & 0x3f);
    Packet {
        protocol: Protocol::from_number(header.protocol),
        tcp_flags: TcpFlags::from_bits(flags).unwrap_or(TcpFlags::NONE),
        ..Packet::tcp(header.source_end(), header.destination_end())
    }
}

/// conntrack's state here, where the trace tells it; else the one such a packet has as a rule.
fn state(packet: &TracedPacket, station: &Station) -> CtState {
    let seen = station.conntrack.map(|it| it.state);
    match seen {
        Some(1) => CtState::Invalid,
        Some(2) => CtState::Established,
        Some(4) => CtState::Related,
        Some(8) => CtState::New,
        Some(64) => CtState::Untracked,
        _ if packet.conntrack.is_some_and(|it| it.reply) => CtState::Established,
        _ if packet.first().tcp.is_some_and(|tcp| !tcp.opens()) => CtState::Established,
        _ => CtState::New,
    }
}
