//! Which packets are traced, and with how much room.

use std::net::IpAddr;

use hoplab_proxies::record::Transport;

use crate::rules::RuleSet;

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
    /// Of TCP those that open a connection (SYN without ACK), and a reset that answers nothing (RST without ACK). Of
    /// UDP all. Half as much to read as with the answers, or less.
    First,
    /// All.
    All,
}

impl Selection {
    /// Whether it is about some connections only.
    pub(crate) fn is_filtered(&self) -> bool {
        !(self.ports.is_empty() && self.addresses.is_empty())
    }
}

/// How to trace.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which packets.
    pub selection: Selection,
    /// In a namespace whose rules are in legacy iptables: its rule sets, one per family. Without them nothing of
    /// ip_tables is traced, and no sysctl is set.
    pub legacy: Vec<RuleSet>,
    /// Bytes the kernel may keep per socket of what has not been read. It takes about 1 KiB for a step on the nft
    /// backend and 5 KiB for one on legacy. An ordinary user gets no more than `net.core.rmem_max`.
    pub room: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            legacy: Vec::new(),
            room: 64 << 20,
        }
    }
}
