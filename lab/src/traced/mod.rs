//! What a trace is, as data: packets, the base chains they met, the rules that matched, the connections they belong to.
//! Pure: evidence carries it, the module `trace` fills it in where there is a kernel to ask.

mod connection;
mod header;
mod malformed;
mod names;
mod packet;
mod pod;

pub use connection::{Connection, JoinedBy, connections};
pub use header::{Header, Icmp, Identity, TcpHeader};
pub use malformed::Malformed;
pub use names::{ChainName, TableFamily, Verdict};
pub use packet::{
    Change, ChangedField, ConntrackSeen, Ordinal, Owner, PacketConntrack, RulePlace, Source,
    Station, Step, Told, TracedPacket,
};
pub use pod::PodTrace;

pub use crate::rules::Hook;
