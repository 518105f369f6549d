//! What can go wrong with the directories of running labs.

use std::{io, path::PathBuf};

use crate::failure::{Class, Explain};

/// Why a running lab could not be written down, found or reached.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A directory or a file of the registry.
    #[error("could not {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The registry is somebody else's, or others may write to it.
    #[error("{path} can't hold running labs: {why}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something else has the lab's place.
    #[error("{path} is not a lab's: it holds `{entry}`")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What no lab has.
        entry: String,
    },
    /// A pod of a running lab.
    #[error("could not {what} for pod `{pod}`")]
    Enter {
        /// What was tried.
        what: &'static str,
        /// Name of the pod.
        pod: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The supervisor lives, but nothing listens.
    #[error("lab `{name}` does not answer")]
    Deaf {
        /// Name of the lab.
        name: String,
        /// The error of the socket.
        #[source]
        source: io::Error,
    },
}

impl Explain for LiveError {
    fn class(&self) -> Class {
        match self {
            Self::File { .. } | Self::Unsafe { .. } | Self::Enter { .. } => Class::Machine,
            Self::Foreign { .. } | Self::Deaf { .. } => Class::State,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsafe { .. } | Self::File { .. } => Some(
                "HOPLAB_RUNTIME_DIR names another directory for running labs, one of your own that nobody else may enter"
                    .to_owned(),
            ),
            Self::Enter { .. } => Some("a lab is entered by the user who brought it up, or by root".to_owned()),
            Self::Foreign { .. } => Some("choose another name with --name, or move it away".to_owned()),
            Self::Deaf { name, .. } => Some(format!("take it down: hoplab down {name}")),
        }
    }
}
