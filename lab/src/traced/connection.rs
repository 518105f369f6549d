//! Packets of one connection. Pure.

use std::{collections::HashMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::TracedPacket;

/// Packets that belong to one connection of one namespace, as positions in the list they were found in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Connection {
    /// What joins them.
    pub joined_by: JoinedBy,
    /// Packets in the direction of the first one.
    pub packets: Vec<usize>,
    /// Packets in the other direction.
    pub replies: Vec<usize>,
}

/// What packets of one connection have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinedBy {
    /// Id of conntrack's entry.
    ConntrackId(u32),
    /// Addresses and ports of the first packet; for packets that conntrack has no entry for. Such are not translated,
    /// so both ends see the same.
    Tuple {
        /// IANA number of the protocol.
        protocol: u8,
        /// Source of the first packet.
        source: SocketAddr,
        /// Its destination.
        destination: SocketAddr,
    },
}

/// Joins packets to connections, in the order of their first packets.
pub fn connections(packets: &[TracedPacket]) -> Vec<Connection> {
    let mut found: Vec<Connection> = Vec::new();
    let mut known: HashMap<JoinedBy, usize> = HashMap::new();
    for (n, packet) in packets.iter().enumerate() {
        let (key, reply) = match packet.conntrack {
            Some(entry) => (JoinedBy::ConntrackId(entry.id), entry.reply),
            None => by_tuple(packet, &known),
        };
        let at = *known.entry(key).or_insert_with(|| {
            found.push(Connection {
                joined_by: key,
                packets: Vec::new(),
                replies: Vec::new(),
            });
            found.len() - 1
        });
        let list = if reply {
            &mut found[at].replies
        } else {
            &mut found[at].packets
        };
        list.push(n);
    }
    found
}

fn by_tuple(packet: &TracedPacket, known: &HashMap<JoinedBy, usize>) -> (JoinedBy, bool) {
    let header = packet.first();
    let (source, destination) = (header.source_end(), header.destination_end());
    let tuple = |source, destination| JoinedBy::Tuple {
        protocol: header.protocol,
        source,
        destination,
    };
    let back = tuple(destination, source);
    if known.contains_key(&back) {
        (back, true)
    } else {
        (tuple(source, destination), false)
    }
}
