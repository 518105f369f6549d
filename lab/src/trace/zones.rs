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
