//! The way of a packet that is not the first of its connection: nat is not asked, conntrack does to it what nat did
//! to the first.

use std::net::{IpAddr, SocketAddr};

use super::journey::{Host, Journey, along};
use super::packet::Packet;
use crate::rules::Hook;
use crate::rules::RuleSet;

/// What conntrack knows of a connection, and which of its two directions a packet goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// True for a packet of the one that was called, false for one of the caller.
    pub answers: bool,
    /// Where nat turned the connection to, if it did.
    pub turned: Option<Turned>,
    /// Which address nat gave its source, if it did; the port stays.
    pub source: Option<Source>,
}

/// A translation of the source, at POSTROUTING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address of the caller.
    pub from: IpAddr,
    /// The address it goes on with.
    pub to: IpAddr,
}

/// A translation of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// The hook whose nat table turned it: PREROUTING or OUTPUT.
    pub at: Hook,
    /// The destination as the caller gave it.
    pub from: SocketAddr,
    /// The destination after it.
    pub to: SocketAddr,
}

impl Known {
    /// Does at a hook what nat does there to a packet of this connection, after mangle: the destination of a packet of
    /// the caller is turned where nat turned the first; the source of an answer is turned back when it leaves
    /// (POSTROUTING) or arrives (INPUT) (`nf_nat_packet` and HOOK2MANIP in net/netfilter/nf_nat_core.c).
    /// The source of the caller and the destination of an answer are the other way round.
    pub(super) fn apply(&self, hook: Hook, packet: &mut Packet) {
        if let Some(source) = self.source {
            if !self.answers && hook == Hook::Postrouting {
                packet.src.set_ip(source.to);
            } else if self.answers && hook == Hook::Prerouting && packet.dst.ip() == source.to {
                packet.dst.set_ip(source.from);
            }
        }
        let Some(turned) = self.turned else { return };
        let back = matches!(hook, Hook::Postrouting | Hook::Input);
        if !self.answers && hook == turned.at {
            packet.dst = turned.to;
        } else if self.answers && back && packet.src == turned.to {
            packet.src = turned.from;
        }
    }
}

/// Follows a packet of a known connection; see [`super::journey`].
pub fn journey_of_known(rules: &RuleSet, host: &Host, packet: Packet, known: Known) -> Journey {
    along(rules, host, packet, Some(known))
}
