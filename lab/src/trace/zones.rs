//! What conntrack's own netlink tells of traced packets, and the trace does not. Pure.

use std::collections::HashMap;

use crate::{evidence::ConntrackEntry, traced::TracedPacket};

/// Puts conntrack's zones to the packets, by the id of the entry.
pub fn add_zones(packets: &mut [TracedPacket], entries: &[ConntrackEntry]) {
    let zones: HashMap<u32, Option<u16>> = entries.iter().map(|it| (it.id, it.zone)).collect();
    for entry in packets.iter_mut().filter_map(|it| it.conntrack.as_mut()) {
        entry.zone = zones.get(&entry.id).copied().flatten().or(entry.zone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evidence::ConntrackTuple,
        rules::Family,
        traced::{Owner, PacketConntrack},
    };

    fn packet(entry: Option<(u32, Option<u16>)>) -> TracedPacket {
        let entry = entry.map(|(id, zone)| PacketConntrack {
            id,
            reply: false,
            status: 0,
            state: 8,
            zone,
        });
        TracedPacket {
            stations: Vec::new(),
            conntrack: entry,
            owner: Owner::Missing("it does not matter".into()),
            doubts: Vec::new(),
        }
    }

    fn entry(id: u32, zone: Option<u16>) -> ConntrackEntry {
        let (src, dst) = (([10, 0, 0, 1], 40_000).into(), ([10, 0, 0, 2], 53).into());
        ConntrackEntry {
            id,
            family: Family::V4,
            transport: hoplab_proxies::record::Transport::Udp,
            zone,
            original: ConntrackTuple { src, dst },
            reply: ConntrackTuple { src: dst, dst: src },
            status: 0,
            mark: 0,
            original_counter: None,
            reply_counter: None,
        }
    }

    #[test]
    fn each_packet_gets_the_zone_of_its_own_entry() {
        let mut packets = [
            packet(Some((7, None))),
            packet(Some((8, None))),
            packet(Some((9, None))),
            packet(None),
        ];
        let entries = [entry(7, Some(2)), entry(8, None), entry(5, Some(1))];
        add_zones(&mut packets, &entries);
        let zones = packets.map(|it| it.conntrack.map(|it| it.zone));
        assert_eq!(zones, [Some(Some(2)), Some(None), Some(None), None]);
    }

    #[test]
    fn a_zone_that_is_known_stays_when_no_entry_tells_another() {
        let mut packets = [packet(Some((7, Some(2)))), packet(Some((8, Some(2))))];
        add_zones(&mut packets, &[entry(8, Some(1))]);
        let zones = packets.map(|it| it.conntrack.and_then(|it| it.zone));
        assert_eq!(zones, [Some(2), Some(1)]);
    }
}
