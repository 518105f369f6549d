//! What can go wrong while a sandbox is made.

use std::{io, path::PathBuf};

use nix::errno::Errno;

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
    /// The supervisor said something that is not of the protocol.
    #[error("the lab's supervisor said something unexpected: {0}")]
    Protocol(String),
}

impl Explain for SandboxError {
    fn class(&self) -> Class {
        match self {
            Self::Gone { .. } | Self::Protocol(_) => Class::State,
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Namespaces {
                source: Errno::EPERM,
                ..
            } => {
                "in a container: run it privileged (podman run --privileged …)\n\
                 on Ubuntu 24.04 as an ordinary user: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n\
                 elsewhere: run as root, or sysctl -w kernel.unprivileged_userns_clone=1\n\
                 the tests that need no namespaces: just test-pure"
            }
            Self::Namespaces {
                source: Errno::ENOSPC,
                ..
            } => {
                "a limit in /proc/sys/user (max_user_namespaces, max_net_namespaces, …) is used up or 0: raise it"
            }
            Self::NoSubIds { user, file } => {
                return Some(format!(
                    "add the line `{user}:100000:65536` to {file} (as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}), or run as root"
                ));
            }
            Self::IdMap { .. } => {
                "install the package `uidmap` (Debian, Ubuntu) or `shadow-utils`, or run as root"
            }
            Self::Mount { what: "proc", .. } => {
                "a container that masks parts of /proc forbids this: run it privileged, or as root outside of it"
            }
            _ => return None,
        };
        Some(text.to_string())
    }
}
