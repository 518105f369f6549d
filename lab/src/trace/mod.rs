//! Rule by rule, what the kernel did with a packet: observers of our own in a namespace, the kernel's reports, and
//! packets put together from them, on both backends.
//!
//! [`TraceWatch`] has the effects: sockets, and a table that the kernel removes with the socket that made it. What it
//! gives is data of [`traced`](crate::traced), on any machine. [`NamespaceTrace`] is a watch in the namespace of any
//! process, with what else is to be known there: rules, names of interfaces, conntrack. All else is pure: bytes to
//! events (`wire`), events to packets (`assemble`), handles to places (`rulebook`), places to verdicts where ip_tables
//! tells none (`legacy`), rules to texts (`rule_texts`).

mod alike;
mod assemble;
mod building;
mod error;
mod expression;
mod legacy;
mod log_groups;
mod logger;
mod lost;
mod namespace;
mod netlink;
mod observers;
mod rival;
mod rulebook;
mod ruleset;
mod selection;
mod watch;
pub mod wire;
mod zones;

pub use error::TraceError;
pub use lost::Lost;
pub use namespace::NamespaceTrace;
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
