//! What can go wrong with iptables and conntrack.

use std::io;

use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Explain},
    net::NetError,
    rules::CounterError,
};

/// Why rules or counters could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum NetfilterError {
    /// A program is not installed.
    #[error("`{program}` is not installed")]
    Missing {
        /// Name of the program.
        program: String,
    },
    /// A program could not be started.
    #[error("could not run `{command}` in `{pod}`")]
    Run {
        /// Command line.
        command: String,
        /// Namespace.
        pod: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed in `{pod}` ({status})\n{words}")]
    Failed {
        /// Command line.
        command: String,
        /// Namespace.
        pod: String,
        /// Exit status, in words.
        status: String,
        /// What it wrote to standard error, and the line it complains about where it names one.
        words: String,
    },
    /// A file could not be written for iptables-restore.
    #[error("could not write the rules file {path}")]
    RulesFile {
        /// Its path inside the lab.
        path: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// What the kernel's save printed can't be read.
    #[error("could not read what `{command}` printed in `{pod}`")]
    Unreadable {
        /// Command line.
        command: String,
        /// Namespace.
        pod: String,
        /// Where and why.
        #[source]
        source: Box<Diagnostic>,
    },
    /// The kernel holds other rules than were meant.
    #[error("after the apply the rules in `{pod}` are not the ones that were meant\n{differences}")]
    NotAsMeant {
        /// Namespace.
        pod: String,
        /// One difference a line.
        differences: String,
    },
    /// What the kernel's save printed carries no counters.
    #[error("could not read the counters of `{pod}`")]
    Counters {
        /// Namespace.
        pod: String,
        /// Why.
        #[source]
        source: CounterError,
    },
    /// The namespace of a process is out of reach.
    #[error(transparent)]
    Namespace(NetError),
    /// What tables there are could not be found out.
    #[error("could not {what}")]
    Tables {
        /// What was tried.
        what: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// What nft printed is no JSON.
    #[error("could not read what `{command}` printed")]
    Json {
        /// Command line.
        command: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// conntrack could not be watched.
    #[error("could not watch conntrack over netlink")]
    Conntrack {
        /// The error.
        #[source]
        source: io::Error,
    },
}

/// Where a program comes from; `ci/just` installs the same.
fn packages(program: &str) -> String {
    if program == "nft" {
        return "install the package `nftables`, or run through `ci/just`".to_owned();
    }
    let (fedora, alpine) = if program.contains("legacy") {
        ("iptables-legacy", "iptables-legacy")
    } else {
        ("iptables-nft", "iptables")
    };
    format!(
        "install the package `iptables` (Debian, Ubuntu, openSUSE, Arch), `{fedora}` (Fedora, RHEL) or `{alpine}` (Alpine), \
         or run through `ci/just`"
    )
}

impl Explain for NetfilterError {
    fn class(&self) -> Class {
        match self {
            // The kernel's word on a rule file is about the file.
            Self::Failed { .. } | Self::NotAsMeant { .. } => Class::Input,
            Self::Namespace(error) => error.class(),
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { program } => Some(packages(program)),
            Self::Namespace(error) => error.hint(),
            Self::Tables { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "this needs CAP_NET_ADMIN, and for legacy tables root, in the user namespace that owns the network \
                 namespace: run as root"
                    .into(),
            ),
            _ => None,
        }
    }
}
