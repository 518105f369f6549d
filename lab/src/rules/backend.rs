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
pub struct Chosen<T = Backend> {
    /// The backend.
    pub backend: T,
    /// Why, in words.
    pub why: String,
}

impl From<Chosen> for Chosen<Holder> {
    fn from(chosen: Chosen) -> Self {
        Self {
            backend: chosen.backend.into(),
            why: chosen.why,
        }
    }
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

/// What holds rules in a network namespace. In JSON the two iptables have the names of [`Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holder {
    /// iptables-legacy: the ip_tables interface of the kernel.
    #[serde(rename = "legacy")]
    IptablesLegacy,
    /// iptables-nft: rules of iptables in tables of nft.
    #[serde(rename = "nft")]
    IptablesNft,
    /// nft itself.
    #[serde(rename = "native-nft")]
    Nft,
}

impl From<Backend> for Holder {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Nft => Self::IptablesNft,
            Backend::Legacy => Self::IptablesLegacy,
        }
    }
}

impl Holder {
    /// The one of iptables.
    pub fn iptables(self) -> Option<Backend> {
        match self {
            Self::IptablesNft => Some(Backend::Nft),
            Self::IptablesLegacy => Some(Backend::Legacy),
            Self::Nft => None,
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::IptablesLegacy, Self::IptablesNft, Self::Nft];

    /// One of iptables by the name that `--backend` has for it.
    pub fn as_backend(self) -> &'static str {
        match self {
            Self::IptablesNft => "nft",
            Self::IptablesLegacy => "legacy",
            Self::Nft => "native nft",
        }
    }
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
