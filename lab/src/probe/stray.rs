//! A segment that belongs to no connection: a bare reset, which conntrack calls INVALID and no stack answers.

use std::net::{IpAddr, SocketAddr};

/// The flags of the segment: RST alone.
pub(super) const STRAY: u8 = 0x04;
/// Length of a TCP header without options.
const HEADER: usize = 20;

/// The segment, for a raw socket, which puts the IP header before it. Its checksum has to be right: conntrack calls a
/// packet with a wrong one INVALID too, and for another reason.
///
/// `number` makes it another segment than others are: the trace of legacy iptables knows packets by their sequence number.
pub(super) fn segment(from: SocketAddr, to: SocketAddr, number: u32) -> [u8; HEADER] {
    let mut segment = [0; HEADER];
    segment[0..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&number.wrapping_add(1).to_be_bytes());
    // Five words of header.
    segment[12] = 5 << 4;
    segment[13] = STRAY;
    let sum = checksum(from.ip(), to.ip(), &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The checksum of TCP over the pseudo header and the segment (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    let mut bytes = octets(from);
    bytes.extend(octets(to));
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    bytes.extend([0, 6]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(segment);
    let words = bytes.chunks(2).map(|it| {
        let low = it.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([it[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{checksum, segment};

    #[test]
    fn the_checksum_of_a_segment_with_its_checksum_is_nothing() {
        let both = [
            ["192.0.2.3:40000", "192.0.2.2:9080"],
            ["[2001:db8::3]:40000", "[2001:db8::2]:9080"],
        ];
        for ends in both {
            let [from, to] = ends.map(|it| it.parse::<SocketAddr>().expect("an end"));
            assert_eq!(checksum(from.ip(), to.ip(), &segment(from, to, 7)), 0);
        }
    }
}
