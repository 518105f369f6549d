//! Which of the two iptables a lab runs.
//!
//! A namespace gets one backend only: with both loaded, nft decides PREROUTING, both count in OUTPUT, and each
//! tool's save is blind to the other.

use std::path::PathBuf;

use super::NetfilterError;
use crate::rules::Family;
pub use crate::rules::{Backend, BackendChoice, Chosen};

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
        find_program(&self.program(family, tool))
    }
}

/// Full path of a program.
///
/// # Errors
/// It is not installed.
pub fn find_program(program: &str) -> Result<PathBuf, NetfilterError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = || NetfilterError::Missing {
        program: program.to_owned(),
    };
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(missing)
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
