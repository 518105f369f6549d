//! What can go wrong with namespaces and links.

use std::io;

use nix::errno::Errno;

use crate::{
    failure::{Class, Explain},
    sandbox::namespaces_fix,
};

/// Why a namespace or a link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// netns-rs could not make or enter a namespace.
    #[error("could not {what} network namespace `{name}`")]
    Namespace {
        /// Create, enter or remove.
        what: &'static str,
        /// Name of the namespace.
        name: String,
        /// The cause.
        #[source]
        source: netns_rs::Error,
    },
    /// The thread of a namespace ended or panicked.
    #[error("the thread of network namespace `{name}` is gone")]
    ThreadGone {
        /// Name of the namespace.
        name: String,
    },
    /// A thread, runtime or netlink socket could not be made.
    #[error("could not open {what} in network namespace `{name}`")]
    Open {
        /// What was opened.
        what: &'static str,
        /// Name of the namespace.
        name: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// There is no process of this id, or none the caller may know of.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// Its id.
        pid: u32,
    },
    /// The process has ended, and its parent has not asked for the exit code.
    #[error("process {pid} has ended, and is in no namespace any more")]
    Ended {
        /// Its id.
        pid: u32,
    },
    /// The network namespace of a process is out of reach.
    #[error("could not {what} the network namespace of process {pid}")]
    Visit {
        /// Its id.
        pid: u32,
        /// Look at or enter.
        what: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a link, address or route.
    #[error("could not {what}")]
    Link {
        /// What was asked, in words, with names.
        what: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// An interface that was just made is not there.
    #[error("interface `{0}` is not there")]
    NoSuchLink(String),
    /// A link or an address was not ready for packets in time.
    #[error("it did not happen in {seconds} s that {what}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The kernel's routes can't be read.
    #[error("could not read {table}")]
    Routes {
        /// Their file.
        table: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// A sysctl could not be written.
    #[error("could not set sysctl {key}={value}")]
    Sysctl {
        /// Key in path form.
        key: String,
        /// Value.
        value: String,
        /// The error.
        #[source]
        source: io::Error,
    },
}

fn sysctl_fix(key: &str, kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound if key.starts_with("net/ipv6/") => Some(
            "the kernel runs without IPv6: boot without ipv6.disable=1, or as root: modprobe ipv6",
        ),
        io::ErrorKind::NotFound if key.starts_with("net/netfilter/") => Some(
            "as root: modprobe nf_conntrack (CONFIG_NF_CONNTRACK, CONFIG_NF_CONNTRACK_EVENTS, CONFIG_NF_CONNTRACK_TIMESTAMP)",
        ),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Some(
            "a container that mounts /proc/sys read-only forbids this: run it privileged (podman run --privileged …)",
        ),
        _ => None,
    }
}

impl Explain for NetError {
    fn class(&self) -> Class {
        match self {
            Self::NoSuchProcess { .. } | Self::Ended { .. } => Class::Input,
            _ => Class::Machine,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Link { source, .. } if source.to_string().contains("not supported") => Some(
                "the kernel lacks veth or bridge: as root: modprobe -a veth bridge, or use a kernel that has them"
                    .into(),
            ),
            Self::Namespace {
                source: netns_rs::Error::UnshareError(errno),
                ..
            } => Some(namespaces_fix(Errno::from_raw(*errno as i32), false)),
            Self::Visit { pid, what, source } if source.kind() == io::ErrorKind::PermissionDenied => Some(match *what {
                "look at" => "a process of another user needs CAP_SYS_PTRACE: run as root".to_owned(),
                _ => format!(
                    "this needs CAP_SYS_ADMIN in the user namespace that owns it: run as root; for a process in a user \
                     namespace of yours, put `nsenter -t {pid} -U -n --preserve-credentials` in front"
                ),
            }),
            Self::Sysctl { key, source, .. } => sysctl_fix(key, source.kind()).map(str::to_string),
            _ => None,
        }
    }
}
