//! Which packets are traced.

use std::net::IpAddr;

use hoplab_proxies::record::Transport;

/// Which packets of which connections are traced. The default is the first packet of every connection and one reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which packets of a connection.
    pub packets: Packets,
    /// These protocols only; all when empty.
    pub protocols: Vec<Transport>,
    /// Connections from or to one of these ports only; all when empty.
    pub ports: Vec<u16>,
    /// Connections from or to one of these addresses only; all when empty.
    pub addresses: Vec<IpAddr>,
}

/// Which packets of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packets {
    /// Of TCP those with SYN or RST: the first packet, the answer to it, and a refusal. Of UDP all: the kernel has no
    /// mark of a first one where the observers stand, and a DNS query has two packets. Of ICMP and ICMPv6
    /// "destination unreachable", which is how UDP is refused.
    #[default]
    FirstAndReply,
    /// All.
    All,
}

impl Selection {
    /// Whether it is about some connections only.
    pub(crate) fn is_filtered(&self) -> bool {
        !(self.ports.is_empty() && self.addresses.is_empty())
    }
}
