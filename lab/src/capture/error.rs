//! Why a capture is not possible.

use std::io;

use crate::{
    failure::{Class, Explain},
    net::NetError,
    trace::TraceError,
};

/// Why packets can't be captured, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The pod's namespace is out of reach.
    #[error("could not enter pod `{pod}` to capture packets there")]
    Enter {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// A socket on an interface.
    #[error("could not {what} in pod `{pod}`")]
    Socket {
        /// What was tried, with the interface.
        what: String,
        /// Name of the pod.
        pod: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The pod's rules could not be observed.
    #[error("could not observe the rules of pod `{pod}`")]
    Rules {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: Box<TraceError>,
    },
    /// The file can't be written.
    #[error("could not write the capture")]
    Write(#[source] io::Error),
}

impl Explain for CaptureError {
    fn class(&self) -> Class {
        match self {
            Self::Enter { source, .. } => source.class(),
            Self::Rules { source, .. } => source.class(),
            Self::Socket { .. } => Class::Machine,
            Self::Write(_) => Class::State,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Enter { source, .. } => source.hint(),
            Self::Rules { .. } => {
                Some("packets alone need no observers: add --no-rules".to_owned())
            }
            Self::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("a lab is captured by the user who brought it up, or by root".to_owned())
            }
            Self::Socket { .. } | Self::Write(_) => None,
        }
    }
}
