//! What can go wrong with a process of a lab.

use std::io;

use crate::failure::{Class, Explain};

/// Why a process did not come up or stay up.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("could not start the {name}")]
    Start {
        /// Role and pod.
        name: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// It ended before it was ready, or while it was needed.
    #[error("the {name} ended by itself ({status}){}", said(.stderr))]
    Ended {
        /// Role and pod.
        name: String,
        /// Exit status, in words.
        status: String,
        /// Last lines it wrote to standard error.
        stderr: String,
    },
    /// It was not ready in time.
    #[error("the {name} was not ready after {seconds} s{}", said(.stderr))]
    NotReady {
        /// Role and pod.
        name: String,
        /// The deadline.
        seconds: u64,
        /// Last lines it wrote to standard error.
        stderr: String,
    },
    /// It wrote a line that is not of the protocol.
    #[error("the {name} wrote a line that can't be read: {line}")]
    Garbled {
        /// Role and pod.
        name: String,
        /// The line.
        line: String,
    },
}

fn said(stderr: &str) -> String {
    if stderr.trim().is_empty() {
        ", and wrote nothing to standard error".into()
    } else {
        format!("; it wrote:\n{}", stderr.trim_end())
    }
}

impl Explain for ProcessError {
    fn class(&self) -> Class {
        Class::State
    }
}
