//! What the first bytes of a packet say.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::Malformed;
use crate::rules::Family;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Header fields of a packet at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA number: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6. In IPv6 the type of the first header after the fixed one.
    pub protocol: u8,
    /// Of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Identification of an IPv4 packet; nat keeps it. 0 where the sender gave none, as in a SYN-ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<u16>,
    /// Flow label of an IPv6 packet; nat keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_label: Option<u32>,
    /// TTL, or hop limit.
    pub hops_left: u8,
    /// Length of the packet in bytes, IP header included.
    pub length: u32,
    /// Of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpHeader>,
    /// Of ICMP and ICMPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// First bytes of what UDP carries, as many as the kernel shows (up to 12): they tell DNS queries apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload: Vec<u8>,
}

/// Fields of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TcpHeader {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Bits of byte 13: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: u8,
}

/// Fields of an ICMP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

const FLAG_NAMES: [(u8, &str); 6] = [
    (0x02, "syn"),
    (0x01, "fin"),
    (0x04, "rst"),
    (0x08, "psh"),
    (0x10, "ack"),
    (0x20, "urg"),
];

impl TcpHeader {
    /// The flags as words: `syn ack`.
    pub fn flag_words(&self) -> String {
        let set = FLAG_NAMES.iter().filter(|(bit, _)| self.flags & bit != 0);
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }

    /// The first packet of a connection.
    pub fn opens(&self) -> bool {
        self.flags & 0x12 == 0x02
    }
}

impl Header {
    /// From the network and transport headers as a trace message carries them.
    ///
    /// # Errors
    /// The network header is cut off, or of neither IP version. A short transport header gives fewer fields.
    pub fn from_trace(network: &[u8], transport: &[u8]) -> Result<Self, Malformed> {
        let (mut header, _) = Self::network(network)?;
        header.transport(transport);
        Ok(header)
    }

    /// From the beginning of a packet, as an nflog message carries it.
    ///
    /// # Errors
    /// As [`Header::from_trace`].
    pub fn from_packet(packet: &[u8]) -> Result<Self, Malformed> {
        let (mut header, length) = Self::network(packet)?;
        header.transport(packet.get(length..).unwrap_or(&[]));
        Ok(header)
    }

    fn network(bytes: &[u8]) -> Result<(Self, usize), Malformed> {
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) if bytes.len() >= 20 => Ok(Self::ipv4(bytes)),
            Some(6) if bytes.len() >= 40 => Ok(Self::ipv6(bytes)),
            Some(4 | 6) => Err(Malformed::new("IP header", "it is cut off")),
            Some(version) => Err(Malformed::new("IP header", format!("version {version}"))),
            None => Err(Malformed::new("IP header", "there is none")),
        }
    }

    fn ipv4(bytes: &[u8]) -> (Self, usize) {
        let address = |at: usize| {
            IpAddr::V4(Ipv4Addr::new(
                bytes[at],
                bytes[at + 1],
                bytes[at + 2],
                bytes[at + 3],
            ))
        };
        let header = Self {
            ip_id: Some(be16(bytes, 4)),
            flow_label: None,
            hops_left: bytes[8],
            length: be16(bytes, 2).into(),
            ..Self::bare(address(12), address(16), bytes[9])
        };
        (header, usize::from(bytes[0] & 0xf) * 4)
    }

    fn ipv6(bytes: &[u8]) -> (Self, usize) {
        let address = |at: usize| {
            let octets: [u8; 16] = bytes[at..at + 16].try_into().expect("16 bytes");
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        let header = Self {
            ip_id: None,
            flow_label: Some(u32::from_be_bytes([0, bytes[1] & 0xf, bytes[2], bytes[3]])),
            hops_left: bytes[7],
            length: u32::from(be16(bytes, 4)) + 40,
            ..Self::bare(address(8), address(24), bytes[6])
        };
        (header, 40)
    }

    fn bare(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            source_port: None,
            destination_port: None,
            ip_id: None,
            flow_label: None,
            hops_left: 0,
            length: 0,
            tcp: None,
            icmp: None,
            payload: Vec::new(),
        }
    }

    fn transport(&mut self, bytes: &[u8]) {
        if matches!(self.protocol, TCP | UDP) && bytes.len() >= 4 {
            self.source_port = Some(be16(bytes, 0));
            self.destination_port = Some(be16(bytes, 2));
        }
        if self.protocol == TCP && bytes.len() >= 14 {
            self.tcp = Some(TcpHeader {
                sequence: be32(bytes, 4),
                acknowledgement: be32(bytes, 8),
                flags: bytes[13],
            });
        }
        if self.protocol == UDP {
            // A trace message shows 20 bytes of header and payload together, whatever the length of the header.
            self.payload = bytes.get(8..bytes.len().min(20)).unwrap_or(&[]).to_vec();
        }
        if matches!(self.protocol, ICMP | ICMPV6) && bytes.len() >= 2 {
            self.icmp = Some(Icmp {
                kind: bytes[0],
                code: bytes[1],
            });
        }
    }

    /// Address family.
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// What nat leaves as it is: it names the packet on its whole way through a namespace, and across namespaces.
    pub fn identity(&self) -> Identity {
        let bare = Self {
            source_port: None,
            destination_port: None,
            hops_left: 0,
            ..self.clone()
        };
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Identity(Self {
            source: nowhere,
            destination: nowhere,
            ..bare
        })
    }

    /// Source with its port, 0 where the protocol has none.
    pub fn source_end(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.source_port.unwrap_or(0))
    }

    /// Destination with its port, 0 where the protocol has none.
    pub fn destination_end(&self) -> SocketAddr {
        SocketAddr::new(self.destination, self.destination_port.unwrap_or(0))
    }
}

/// A packet whose addresses and ports don't count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(Header);

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source_port {
            Some(_) => write!(f, "{} → {}", self.source_end(), self.destination_end())?,
            None => write!(f, "{} → {}", self.source, self.destination)?,
        }
        match (self.protocol, &self.tcp, &self.icmp) {
            (TCP, Some(tcp), _) => write!(f, " tcp {}", tcp.flag_words()),
            (TCP, None, _) => f.write_str(" tcp"),
            (UDP, ..) => f.write_str(" udp"),
            (_, _, Some(icmp)) => write!(f, " icmp {}/{}", icmp.kind, icmp.code),
            (other, ..) => write!(f, " protocol {other}"),
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
