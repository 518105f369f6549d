//! Rule by rule, what the kernel did with a packet: observers of our own in a namespace, the kernel's reports, and
//! packets put together from them, on both backends.
//!
//! [`TraceWatch`] has the effects: sockets, and a table that the kernel removes with the socket that made it. All else
//! is pure: bytes to events (`wire`), events to packets (`assemble`), handles to places (`rulebook`), places to
//! verdicts where ip_tables tells none (`legacy`).

mod assemble;
mod building;
mod connection;
mod error;
mod expression;
mod legacy;
mod log_groups;
mod logger;
mod lost;
mod names;
mod netlink;
mod observers;
mod packet;
mod rulebook;
mod ruleset;
mod selection;
mod watch;
pub mod wire;

pub use connection::{Connection, JoinedBy, add_zones, connections};
pub use error::TraceError;
pub use lost::Lost;
pub use names::{ChainName, Hook, TableFamily, Verdict};
pub(crate) use observers::TABLE_PREFIX;
pub use packet::{
    Change, ChangedField, Ordinal, Owner, PacketConntrack, RulePlace, Source, Station, Step, Told,
    TracedPacket,
};
pub use ruleset::observer_tables;
pub use selection::{Options, Packets, Selection};
pub use watch::TraceWatch;
pub use wire::{ConntrackSeen, Header, LogEvent, NftEvent, NftKind};

#[cfg(test)]
mod tests;
