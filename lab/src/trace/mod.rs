//! Rule by rule, what the kernel did with a packet: observers of our own in a namespace, the kernel's reports, and
//! packets put together from them, on both backends.
//!
//! [`TraceWatch`] has the effects: sockets, and a table that the kernel removes with the socket that made it. What it
//! gives is data of [`traced`](crate::traced), on any machine. All else is pure: bytes to events (`wire`), events to packets (`assemble`), handles to places (`rulebook`), places to
//! verdicts where ip_tables tells none (`legacy`).

mod assemble;
mod building;
mod error;
mod expression;
mod legacy;
mod log_groups;
mod logger;
mod lost;
mod netlink;
mod observers;
mod rulebook;
mod ruleset;
mod selection;
mod watch;
pub mod wire;
mod zones;

pub use error::TraceError;
pub use lost::Lost;
pub(crate) use observers::TABLE_PREFIX;
pub use ruleset::observer_tables;
pub use selection::{Options, Packets, Selection};
pub use watch::TraceWatch;
pub use wire::{LogEvent, NftEvent, NftKind};
pub use zones::add_zones;

pub use crate::traced::{
    ChainName, Change, ChangedField, Connection, ConntrackSeen, Header, Hook, JoinedBy, Ordinal,
    Owner, PacketConntrack, RulePlace, Source, Station, Step, TableFamily, Told, TracedPacket,
    Verdict, connections,
};

#[cfg(test)]
mod tests;
