//! Bytes per packet: what a count is a count of.

use super::count;
use crate::rules::{RuleId, RuleSet, Table};

/// The bytes of one rule, per packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BytesPerPacket {
    /// The rule.
    pub rule: RuleId,
    /// The least and the most the mean can be, in hundredths of a byte.
    pub mean: (u64, u64),
    /// Whether every packet can have been a TCP SYN: 60 bytes with the options Linux sends (40 of headers, 20 of
    /// options: MSS, SACK, timestamps, window scale), 52 without timestamps; 20 more for IPv6.
    pub syns: Option<u64>,
}

/// Sizes of a SYN over IPv4.
const SYN: [u64; 2] = [60, 52];
/// What the IPv6 header is longer.
const IPV6: u64 = 20;

/// Every rule of the table that counted something.
pub(super) fn bytes(set: &RuleSet, table: Table) -> Vec<BytesPerPacket> {
    let more = match set.family {
        crate::rules::Family::V4 => 0,
        crate::rules::Family::V6 => IPV6,
    };
    let rules = set.rules(table).filter_map(|(rule, it)| {
        let counted = count(it.counters, it.rounded)?;
        let (packets, bytes) = (counted.packets, counted.bytes);
        if packets.least == 0 {
            return None;
        }
        let fits = |size: &u64| {
            let (least, most) = (
                packets.least.saturating_mul(*size),
                packets.most.saturating_mul(*size),
            );
            least <= bytes.most && bytes.least <= most
        };
        let hundredths = |bytes: u64, packets: u64| bytes.saturating_mul(100) / packets;
        Some(BytesPerPacket {
            rule,
            mean: (
                hundredths(bytes.least, packets.most),
                hundredths(bytes.most, packets.least),
            ),
            syns: SYN.into_iter().map(|size| size + more).find(fits),
        })
    });
    rules.collect()
}
