//! Kinds of addresses, as routing sees them and `-m addrtype` names them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of address (`RTN_*` of rtnetlink).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum AddressKind {
    Unspec,
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

impl AddressKind {
    /// Every kind, in the order iptables prints them.
    pub const ALL: [Self; 9] = [
        Self::Unspec,
        Self::Unicast,
        Self::Local,
        Self::Broadcast,
        Self::Anycast,
        Self::Multicast,
        Self::Blackhole,
        Self::Unreachable,
        Self::Prohibit,
    ];

    /// The name as rule files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspec => "UNSPEC",
            Self::Unicast => "UNICAST",
            Self::Local => "LOCAL",
            Self::Broadcast => "BROADCAST",
            Self::Anycast => "ANYCAST",
            Self::Multicast => "MULTICAST",
            Self::Blackhole => "BLACKHOLE",
            Self::Unreachable => "UNREACHABLE",
            Self::Prohibit => "PROHIBIT",
        }
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An end of a packet: which of its two addresses or ports a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}
