//! What a rule does with a packet that matches: [`Target`], and how control flows on from it.

use std::net::IpAddr;

use super::logging::{Log, Nflog};
use super::marks::{ConnmarkAction, MarkChange};
use super::nat::NatRange;
use super::values::PortRange;

/// The target of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// No `-j`: the rule only counts.
    None,
    /// `-j CHAIN`, a user chain of the same table.
    Jump(String),
    /// `-g CHAIN`: as a jump, but RETURN goes back to the caller of this chain.
    Goto(String),
    /// Back to the caller; in a built-in chain, the policy.
    Return,
    /// Done with this table, at this hook.
    Accept,
    /// Gone.
    Drop,
    /// nat to this machine.
    Redirect {
        /// The new port or ports; `None` keeps the packet's own.
        ports: Option<PortRange>,
    },
    /// Gone, with an answer to the sender.
    Reject {
        /// The answer under the name `iptables-save` prints: `icmp-port-unreachable`.
        with: String,
    },
    /// nat of the destination.
    Dnat(NatRange),
    /// nat of the source.
    Snat(NatRange),
    /// nat of the source to the address of the interface the packet leaves by.
    Masquerade(NatRange),
    /// To a local socket, without a change of the packet's addresses.
    Tproxy {
        /// The socket's port.
        port: u16,
        /// The socket's address; `None` for the address of the interface the packet came in by.
        address: Option<IpAddr>,
        /// What happens to the packet's mark.
        mark: MarkChange,
    },
    /// Marks the packet.
    Mark(MarkChange),
    /// Marks the connection, or copies a mark.
    Connmark(ConnmarkAction),
    /// Puts the packet into a conntrack zone. The first of several to match settles it (`xt_ct_target` leaves a
    /// packet alone that has a conntrack entry already).
    Zone {
        /// The zone.
        zone: ZoneId,
        /// For one direction of the connection only.
        direction: Option<ZoneDirection>,
    },
    /// Keeps conntrack, and so nat, from seeing the packet.
    Notrack,
    /// Writes to the kernel's log.
    Log(Log),
    /// Writes to a netlink group.
    Nflog(Nflog),
    /// Has every rule the packet meets reported.
    Trace,
    /// A target that is not modelled: its name and options word for word, quoted where a rule file needs it.
    Verbatim(Vec<String>),
}

/// A conntrack zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZoneId {
    /// By number.
    Number(u16),
    /// The packet's mark is the number.
    FromMark,
}

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZoneDirection {
    /// From the one who opened it.
    Original,
    /// Back to the one who opened it.
    Reply,
}

/// Where a packet goes after a rule it matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow<'a> {
    /// On to the next rule.
    Continues,
    /// Into the named chain, and perhaps back.
    Calls(&'a str),
    /// Into the named chain, never back to this one.
    Leaves(&'a str),
    /// Back to the caller.
    Returns,
    /// The table has decided.
    Decides,
    /// A target this module does not know.
    Unknown,
}

/// Targets of the kernel after which the next rule is asked.
const NON_TERMINAL: [&str; 24] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "NOTRACK",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "TRACE",
    "TTL",
];

/// Targets of the kernel that end the table's work on the packet.
const TERMINAL: [&str; 9] = [
    "DNAT",
    "MASQUERADE",
    "NETMAP",
    "NFQUEUE",
    "QUEUE",
    "REDIRECT",
    "REJECT",
    "SNAT",
    "TPROXY",
];

/// Targets of the kernel that do either, or that no nat rule set has.
const OTHER: [&str; 7] = [
    "CLUSTERIP",
    "DNPT",
    "MIRROR",
    "SNPT",
    "SYNPROXY",
    "TEE",
    "ULOG",
];

impl Target {
    /// Whether iptables has a target extension of this name: such a name is not a jump to a missing chain.
    pub fn is_extension(name: &str) -> bool {
        Self::extensions().any(|known| known == name)
    }

    /// The names of the target extensions iptables has.
    pub fn extensions() -> impl Iterator<Item = &'static str> {
        NON_TERMINAL.into_iter().chain(TERMINAL).chain(OTHER)
    }

    /// The chain the target enters.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// The name in the target column of a listing; empty for none.
    pub fn name(&self) -> &str {
        match self {
            Self::None => "",
            Self::Jump(chain) | Self::Goto(chain) => chain,
            Self::Return => "RETURN",
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
            Self::Redirect { .. } => "REDIRECT",
            Self::Reject { .. } => "REJECT",
            Self::Dnat(_) => "DNAT",
            Self::Snat(_) => "SNAT",
            Self::Masquerade(_) => "MASQUERADE",
            Self::Tproxy { .. } => "TPROXY",
            Self::Mark(_) => "MARK",
            Self::Connmark(_) => "CONNMARK",
            Self::Zone { .. } | Self::Notrack => "CT",
            Self::Log(_) => "LOG",
            Self::Nflog(_) => "NFLOG",
            Self::Trace => "TRACE",
            Self::Verbatim(words) => words.first().map_or("", String::as_str),
        }
    }

    /// Whether the target is understood in full.
    pub fn is_modelled(&self) -> bool {
        !matches!(self, Self::Verbatim(_))
    }

    /// Where a packet goes after matching.
    pub fn flow(&self) -> Flow<'_> {
        match self {
            Self::None
            | Self::Mark(_)
            | Self::Connmark(_)
            | Self::Zone { .. }
            | Self::Notrack
            | Self::Log(_)
            | Self::Nflog(_)
            | Self::Trace => Flow::Continues,
            Self::Jump(chain) => Flow::Calls(chain),
            Self::Goto(chain) => Flow::Leaves(chain),
            Self::Return => Flow::Returns,
            Self::Accept
            | Self::Drop
            | Self::Reject { .. }
            | Self::Redirect { .. }
            | Self::Dnat(_)
            | Self::Snat(_)
            | Self::Masquerade(_)
            | Self::Tproxy { .. } => Flow::Decides,
            Self::Verbatim(_) if NON_TERMINAL.contains(&self.name()) => Flow::Continues,
            Self::Verbatim(_) if TERMINAL.contains(&self.name()) => Flow::Decides,
            Self::Verbatim(_) => Flow::Unknown,
        }
    }
}
