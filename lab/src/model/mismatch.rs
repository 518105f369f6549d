//! Why a rule did not match: the first of its conditions that failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The property of a packet a condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// `-s`
    Source,
    /// `-d`
    Destination,
    /// `-i`
    InInterface,
    /// `-o`
    OutInterface,
    /// `-p`
    Protocol,
    /// `--sport`
    SourcePort,
    /// `--dport`
    DestinationPort,
    /// `-m owner --uid-owner`
    OwnerUid,
    /// `-m owner --gid-owner`
    OwnerGid,
    /// `-m conntrack --ctstate`
    CtState,
    /// `-m mark --mark`
    Mark,
    /// `-m connmark --mark`
    ConnMark,
    /// `-m multiport --ports`: at either end.
    AnyPort,
    /// `--tcp-flags`
    TcpFlags,
    /// `-m owner --socket-exists`
    Socket,
    /// `-m addrtype --src-type`
    SourceKind,
    /// `-m addrtype --dst-type`
    DestinationKind,
    /// IPv4 or IPv6, which nft asks for in tables of both.
    Family,
}

impl Field {
    /// How people name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "-s",
            Self::Destination => "-d",
            Self::InInterface => "in",
            Self::OutInterface => "out",
            Self::Protocol => "protocol",
            Self::SourcePort => "source port",
            Self::DestinationPort => "destination port",
            Self::OwnerUid => "owner uid",
            Self::OwnerGid => "owner gid",
            Self::CtState => "state",
            Self::Mark => "mark",
            Self::ConnMark => "connection mark",
            Self::AnyPort => "source or destination port",
            Self::TcpFlags => "tcp flags",
            Self::Socket => "a socket",
            Self::SourceKind => "kind of source",
            Self::DestinationKind => "kind of destination",
            Self::Family => "family",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The first condition of a rule that failed, in the order the kernel asks. `Display` reads
/// `wanted owner uid 1337, had 1000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mismatch {
    /// What was asked for.
    pub field: Field,
    /// What the rule wants, with a leading `!` when inverted: `!127.0.0.1/32`.
    pub wanted: String,
    /// What the packet has: `127.0.0.1`, `no socket`, `none`.
    pub had: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wanted {} {}, had {}", self.field, self.wanted, self.had)
    }
}
