//! What a trace is, as data: packets, the base chains they met, the rules that matched, the connections they belong to.
//! Pure: evidence carries it, the module `trace` fills it in where there is a kernel to ask.

mod blocks;
mod connection;
mod header;
mod malformed;
mod names;
mod packet;
mod pod;
mod rule_names;
mod rule_texts;
mod tracing;

pub use blocks::{Block, Blocks};
pub use connection::{Connection, JoinedBy, connections};
pub use header::{Header, Icmp, Identity, TcpHeader};
pub use malformed::Malformed;
pub use names::{ChainName, OBSERVER_TABLES, TableFamily, Verdict};
pub use packet::{
    Change, ChangedField, ConntrackSeen, Ordinal, Owner, PacketConntrack, RulePlace, Source,
    Station, Step, Told, TracedPacket,
};
pub use pod::PodTrace;
pub use rule_texts::RuleTexts;
pub use tracing::Tracing;

pub use crate::rules::Hook;
