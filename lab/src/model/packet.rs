//! A packet as rules see it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::rules::{AddressKind, CtState, Family, Protocol, TcpFlags};

/// A packet at a hook. In the nat table, the first packet of a connection: nat sees no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Packet {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where it comes from; the port is 0 for a protocol without ports.
    pub src: SocketAddr,
    /// Where it goes; decides the family.
    pub dst: SocketAddr,
    /// The interface it came in by, at the hooks that know one.
    pub in_iface: Option<String>,
    /// The interface it will leave by, at the hooks that know one.
    pub out_iface: Option<String>,
    /// Effective uid and gid the sending socket was made with; `None` when there is no socket, as for a packet that
    /// came in or a reply the kernel makes.
    pub owner: Option<(u32, u32)>,
    /// The packet mark.
    pub mark: u32,
    /// What conntrack says of its connection.
    pub state: CtState,
    /// The mark of its connection.
    pub connmark: u32,
    /// The conntrack zone a rule put it in; `None` while none did.
    pub zone: Option<u16>,
    /// The flags of a TCP segment; none for another protocol.
    pub tcp_flags: TcpFlags,
    /// What routing makes of the source, where the address alone does not tell.
    pub src_kind: Option<AddressKind>,
    /// What routing makes of the destination, where the address alone does not tell.
    pub dst_kind: Option<AddressKind>,
}

impl Packet {
    /// The first packet of a TCP connection, without interfaces, owner or mark.
    pub fn tcp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Tcp,
            src,
            dst,
            in_iface: None,
            out_iface: None,
            owner: None,
            mark: 0,
            state: CtState::New,
            connmark: 0,
            zone: None,
            tcp_flags: TcpFlags::SYN,
            src_kind: None,
            dst_kind: None,
        }
    }

    /// The first datagram of a UDP flow.
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Udp,
            tcp_flags: TcpFlags::NONE,
            ..Self::tcp(src, dst)
        }
    }

    /// The packet, come in by an interface.
    #[must_use]
    pub fn coming_in(self, interface: &str) -> Self {
        Self {
            in_iface: Some(interface.to_owned()),
            ..self
        }
    }

    /// The packet, leaving by an interface.
    #[must_use]
    pub fn leaving_by(self, interface: &str) -> Self {
        Self {
            out_iface: Some(interface.to_owned()),
            ..self
        }
    }

    /// The packet, sent from a socket of this user and group.
    #[must_use]
    pub fn owned_by(self, uid: u32, gid: u32) -> Self {
        Self {
            owner: Some((uid, gid)),
            ..self
        }
    }

    /// The packet, marked.
    #[must_use]
    pub fn marked(self, mark: u32) -> Self {
        Self { mark, ..self }
    }

    /// Whether conntrack has an entry for it, or begins one: not for what it calls invalid, nor for what it leaves alone.
    pub fn has_entry(&self) -> bool {
        !matches!(self.state, CtState::Invalid | CtState::Untracked)
    }

    /// The family whose rules it meets.
    pub fn family(&self) -> Family {
        Family::of(self.dst.ip())
    }
}
