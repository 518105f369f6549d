//! Packets of the pods of a running lab as their interfaces carry them, each with the rules it met.
//!
//! [`Capture`] has the effects: an `AF_PACKET` socket on each interface (`tap`), and the observers of
//! [`trace`](crate::trace) in each pod. What joins the two (`join`) and what is said of a packet (`comment`) is pure.
//! [`pcapng`] is the file.

mod comment;
mod error;
mod join;
pub mod pcapng;
mod session;
mod tap;

pub use error::CaptureError;
pub use join::Joined;
pub use session::{Capture, Totals};
pub use tap::Counted;

use std::time::Duration;

use crate::traced::Header;

/// An interface of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the pod.
    pub pod: String,
    /// Its name there.
    pub name: String,
}

/// A packet as an interface carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Number of the interface, in the order of [`Capture::interfaces`].
    pub interface: usize,
    /// When, since 1970.
    pub time: Duration,
    /// Which way; on loopback every packet leaves and comes in, and is here once.
    pub direction: Direction,
    /// Its length on the wire in bytes.
    pub length: u32,
    /// What was kept of it, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// Which way a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the pod.
    In,
    /// Out of the pod.
    Out,
    /// Out and in again.
    Loopback,
}

impl Frame {
    /// What its IP header says; none when it is no IP packet.
    fn header(&self) -> Option<Header> {
        /// Two addresses and a type.
        const ETHERNET: usize = 14;
        match self.bytes.get(12..ETHERNET)? {
            [0x08, 0x00] | [0x86, 0xdd] => Header::from_packet(&self.bytes[ETHERNET..]).ok(),
            _ => None,
        }
    }
}
