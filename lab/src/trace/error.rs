//! What can go wrong with a trace.

use std::io;

use crate::failure::{Class, Explain};

/// Why packets can't be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A netlink socket failed.
    #[error("could not {what} over netlink")]
    Netlink {
        /// What was being done.
        what: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The rule set never stood still long enough to be read.
    #[error("the rules of this namespace changed {0} times while they were being read")]
    Restless(u32),
    /// Another program listens to the TRACE lines of this namespace.
    #[error("nflog group {group} of this namespace belongs to another program")]
    GroupTaken {
        /// The group.
        group: u16,
    },
    /// The logger of ip_tables can't be read or set back.
    #[error("could not {what} the netfilter logger in {path}")]
    Logger {
        /// `read` or `set`.
        what: &'static str,
        /// The sysctl.
        path: String,
        /// The error.
        #[source]
        source: io::Error,
    },
}

impl TraceError {
    pub(super) fn netlink(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Netlink { what, source }
    }
}

impl Explain for TraceError {
    fn class(&self) -> Class {
        match self {
            Self::Restless(_) | Self::GroupTaken { .. } => Class::State,
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        let denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Netlink { source, .. } if denied(source) => {
                Some("it needs CAP_NET_ADMIN in the namespace: run as root, or inside a lab".into())
            }
            Self::GroupTaken { .. } => Some("end that program (ulogd, another trace) first".into()),
            _ => None,
        }
    }
}
