//! Which of the two iptables a lab runs.
//!
//! A namespace gets one backend only: with both loaded, nft decides PREROUTING, both count in OUTPUT, and each
//! tool's save is blind to the other.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::NetfilterError;
use crate::rules::Family;

/// An iptables backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The programs a lab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Writes rules.
    Restore,
    /// Reads rules and counters.
    Save,
    /// Changes one rule or chain.
    Edit,
}

/// Where Debian, Fedora, Alpine and Arch put the programs, beside PATH: /usr/sbin is not on every user's PATH.
const SYSTEM_DIRS: &[&str] = &["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

impl Backend {
    /// Name of a program of this backend, such as `ip6tables-nft-restore`.
    pub fn program(self, family: Family, tool: Tool) -> String {
        let family = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        match tool {
            Tool::Restore => format!("{family}-{self}-restore"),
            Tool::Save => format!("{family}-{self}-save"),
            Tool::Edit => format!("{family}-{self}"),
        }
    }

    /// Full path of a program of this backend.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find(self, family: Family, tool: Tool) -> Result<PathBuf, NetfilterError> {
        let program = self.program(family, tool);
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
            .map(|dir| dir.join(&program))
            .find(|candidate| candidate.is_file())
            .ok_or(NetfilterError::Missing { program })
    }
}

impl BackendChoice {
    /// Settles on a backend for fresh namespaces.
    ///
    /// istio-init takes legacy only where a legacy dump has rules already, which a fresh namespace never has; so
    /// it takes nft where that works, else legacy.
    ///
    /// # Errors
    /// The backend asked for, or both with `auto`, is not installed.
    pub fn settle(self) -> Result<Chosen, NetfilterError> {
        match self {
            Self::Fixed(backend) => {
                backend.find(Family::V4, Tool::Restore)?;
                Ok(Chosen {
                    backend,
                    why: "asked for".into(),
                })
            }
            Self::Auto => match Backend::Nft.find(Family::V4, Tool::Restore) {
                Ok(_) => Ok(Chosen {
                    backend: Backend::Nft,
                    why: "auto: a fresh namespace has no legacy rules, so istio-init takes nft"
                        .into(),
                }),
                Err(missing) => match Backend::Legacy.find(Family::V4, Tool::Restore) {
                    Ok(_) => Ok(Chosen {
                        backend: Backend::Legacy,
                        why: "auto: iptables-nft-restore is not installed".into(),
                    }),
                    Err(_) => Err(missing),
                },
            },
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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
