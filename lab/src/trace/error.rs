//! What can go wrong with a trace.

use std::io;

use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Explain},
    net::NetError,
    netfilter::NetfilterError,
};

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
    #[error("nflog group {group} of this namespace is read by {}", by.as_deref().unwrap_or("another program"))]
    GroupTaken {
        /// The group; 0 is where the kernel sends the TRACE lines of legacy iptables.
        group: u16,
        /// The other program and its process, where it can be seen.
        by: Option<String>,
    },
    /// The rules of a namespace could not be read.
    #[error(transparent)]
    Rules(#[from] NetfilterError),
    /// What a tool printed about legacy iptables can't be read; without it the kernel's lines can't be understood.
    #[error("could not read the rules of legacy iptables")]
    Legacy(#[source] Box<Diagnostic>),
    /// The namespace of a process is out of reach.
    #[error(transparent)]
    Namespace(#[from] NetError),
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
            Self::Rules(error) => error.class(),
            Self::Namespace(error) => error.class(),
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        let denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Netlink { source, .. } if denied(source) => {
                Some("it needs CAP_NET_ADMIN in the namespace: run as root, or inside a lab".into())
            }
            Self::GroupTaken { group: 0, .. } => Some(
                "the kernel sends the TRACE lines of legacy iptables to this group, which one program can read: \
                 end that one first"
                    .into(),
            ),
            Self::GroupTaken { .. } => Some("end that program first".into()),
            Self::Rules(error) => error.hint(),
            Self::Namespace(error) => error.hint(),
            _ => None,
        }
    }
}
