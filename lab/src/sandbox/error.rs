//! What can go wrong while a sandbox is made.

use std::{io, path::PathBuf};

use nix::errno::Errno;

use super::namespaces_fix;

use crate::failure::{Class, Explain};

/// Why a sandbox could not be made or reached.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// clone(2) refused the namespaces.
    #[error("this machine refuses new namespaces ({flags})")]
    Namespaces {
        /// Namespaces asked for, in words.
        flags: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// An ordinary user has no range of subordinate ids.
    #[error("user `{user}` has no range of at least 65535 subordinate ids in {file}")]
    NoSubIds {
        /// User name or number.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// First id behind all ranges of that file.
        free: u64,
    },
    /// newuidmap or newgidmap is missing or failed.
    #[error("{program} could not map the lab's user and group ids")]
    IdMap {
        /// Which of the two.
        program: &'static str,
        /// Its words, or the error that kept it from running.
        #[source]
        source: io::Error,
    },
    /// A mount inside the sandbox failed.
    #[error("could not mount {what} at {at}")]
    Mount {
        /// File system or file.
        what: &'static str,
        /// Mount point.
        at: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// A file inside the sandbox could not be written.
    #[error("could not write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// A system call that sets up the supervisor failed.
    #[error("could not {what} for the supervisor")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The supervisor is gone.
    #[error("the lab's supervisor is gone ({how})")]
    Gone {
        /// Exit status or signal, in words.
        how: String,
    },
    /// A lab of another command's went away.
    #[error("the lab went down while this command used it")]
    WentDown,
    /// The supervisor said something that is not of the protocol.
    #[error("the lab's supervisor said something unexpected: {0}")]
    Protocol(String),
}

impl Explain for SandboxError {
    fn class(&self) -> Class {
        match self {
            Self::Gone { .. } | Self::WentDown | Self::Protocol(_) => Class::State,
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Namespaces { flags, source } => {
                return Some(namespaces_fix(*source, flags.starts_with("user")));
            }
            Self::NoSubIds { user, file, free } => {
                return Some(format!(
                    "add the line `{user}:{free}:65536` to {file} (as root: echo {user}:{free}:65536 >>{file}), or run as root"
                ));
            }
            Self::IdMap { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "install the package `uidmap` (Debian, Ubuntu), `shadow-utils` (Fedora, RHEL), `shadow-uidmap` (Alpine) \
                 or `shadow` (Arch), or run as root"
            }
            Self::IdMap { program, .. } => {
                return Some(format!(
                    "{program} must be setuid root or have its capability (reinstall its package), on a file system without \
                     nosuid, and its caller without no_new_privs (systemd: NoNewPrivileges=no); or run as root"
                ));
            }
            Self::Mount {
                at,
                source: Errno::ENOENT,
                ..
            } => return Some(format!("create {} as root", at.display())),
            Self::Mount { what: "proc", .. } => {
                "a container that masks parts of /proc forbids this: run it privileged, or as root outside of it"
            }
            _ => return None,
        };
        Some(text.to_string())
    }
}
