//! The two programs that are called iptables, and what holds rules beside them.

use std::{fmt, str::FromStr};

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

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// Take what istio-init would take in a fresh namespace.
    Auto,
    /// This one.
    Fixed(Backend),
}

/// The backend taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The backend.
    pub backend: Backend,
    /// Why, in words.
    pub why: String,
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

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "nft" => Ok(Self::Fixed(Backend::Nft)),
            "legacy" => Ok(Self::Fixed(Backend::Legacy)),
            _ => Err(format!("`{text}` is not a backend: nft, legacy or auto")),
        }
    }
}

/// What holds rules in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// iptables-legacy: the ip_tables interface of the kernel.
    IptablesLegacy,
    /// iptables-nft: rules of iptables in tables of nft.
    IptablesNft,
    /// nft itself.
    Nft,
}

impl Holder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::IptablesLegacy, Self::IptablesNft, Self::Nft];
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nft => "nft",
        })
    }
}

impl FromStr for Holder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|it| it.to_string() == text);
        known
            .ok_or_else(|| format!("`{text}` holds no rules: iptables-legacy, iptables-nft or nft"))
    }
}
