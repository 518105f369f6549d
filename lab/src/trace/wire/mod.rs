//! The kernel's trace messages on the wire: bytes to typed events and back. Pure.
//!
//! netlink-packet-netfilter knows that there is a trace message but none of its attributes, and it hides the hook of
//! an nflog message; so both are read here, with the attribute iterator of netlink-packet-core.

mod attributes;
mod datagram;
mod header;
mod nflog;
mod nft;

pub(crate) use attributes::{Attributes, attributes, be32, be64, text};
pub(crate) use datagram::{Message, NFNL_HEADER, messages, nfnl_family, request};
pub(crate) use header::Identity;
pub use header::{Header, Icmp, TcpHeader};
pub use nflog::LogEvent;
pub(crate) use nflog::{LineKind, TraceLine};
pub use nft::{ConntrackSeen, NftEvent, NftKind};

/// Bytes that are not what the kernel sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// What the bytes should have been.
    pub what: &'static str,
    /// What is wrong with them.
    pub why: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { what, why }
    }
}
