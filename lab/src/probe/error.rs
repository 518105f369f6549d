//! What keeps a probe from finding out.

use std::io;

use thiserror::Error;

use crate::{
    behaviour::Flow,
    failure::{Class, Explain},
};

/// Could not find out what rules do.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The kernel or its tools refuse the rules.
    #[error("the rules are refused by {command}: {words}")]
    Refused {
        /// The command.
        command: String,
        /// What it wrote.
        words: String,
    },
    /// A socket of the scene.
    #[error("could not {what}")]
    Socket {
        /// What.
        what: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// A flow needs an owner that this machine has not.
    #[error("no socket can belong to {uid}:{gid} here, as {flow} asks for")]
    Owner {
        /// The flow.
        flow: Box<Flow>,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// More flows than there are source ports.
    #[error("{flows} flows are too many for one probe, which has room for {most}")]
    TooMany {
        /// Asked for.
        flows: usize,
        /// Possible.
        most: usize,
    },
}

impl ProbeError {
    pub(super) fn socket(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Socket { what, source }
    }
}

impl Explain for ProbeError {
    fn class(&self) -> Class {
        match self {
            Self::Refused { .. } | Self::TooMany { .. } => Class::Input,
            Self::Socket { .. } | Self::Owner { .. } => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { .. } => Some(
                "as an ordinary user only ids that /etc/subuid and /etc/subgid give are there; `hoplab doctor` looks"
                    .to_owned(),
            ),
            Self::TooMany { .. } => Some("ask for a smaller sample".to_owned()),
            _ => None,
        }
    }
}
