//! The two programs that are called iptables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An iptables backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// iptables-nft: rules become nftables rules.
    Nft,
    /// iptables-legacy: the ip_tables interface.
    Legacy,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Legacy];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}
