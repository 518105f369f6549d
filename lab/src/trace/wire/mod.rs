//! The kernel's trace messages on the wire: bytes to typed events and back. Pure.
//!
//! netlink-packet-netfilter knows that there is a trace message but none of its attributes, and it hides the hook of
//! an nflog message; so both are read here, with the attribute iterator of netlink-packet-core.

mod attributes;
mod datagram;
mod nflog;
mod nft;

pub(crate) use attributes::{Attributes, attributes, be32, be64, text};
pub(crate) use datagram::{Message, NFNL_HEADER, messages, nfnl_family, request};
pub use nflog::LogEvent;
pub(crate) use nflog::{LineKind, TraceLine};
pub use nft::{NftEvent, NftKind};

pub(crate) use crate::traced::Identity;
pub use crate::traced::{ConntrackSeen, Header, Icmp, Malformed, TcpHeader};
