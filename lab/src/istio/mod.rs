//! The rules of Istio: what `istio-iptables` and the ambient agent write for a configuration, word for word.
//!
//! Pure: variables, resolv.conf and files are read by the caller. The way is [`Settings`] (flags and variables, or a
//! pod's [`annotations`]) → [`Config`] (what they mean) → rules in Istio's own order → text: [`restore()`] for
//! iptables, [`nft`] for nftables. Which rules a configuration gets also depends on the [`Release`].
//!
//! Istio accepts much in silence. What a person may not expect comes back as a [`Warning`] beside the rules, which
//! are Istio's all the same; a value no rule can be made of is a [`BadValue`].

pub mod ambient;
pub mod annotations;
mod cidr;
mod config;
mod configurations;
mod dns;
mod emit;
mod error;
mod flags;
mod items;
pub mod nft;
mod owners;
mod ranges;
mod release;
mod restore;
pub mod routes;
mod settings;
mod sidecar;
mod surprises;
mod variables;
mod warning;

pub use cidr::{Cidr, NoCidr};
pub use config::{Config, Host, InboundPorts, InterceptionMode};
pub use configurations::Configuration;
pub use dns::{DnsCapture, DnsServers};
pub use emit::{Emitted, Position};
pub use error::BadValue;
pub use flags::{FLAGS, Flag, Kind};
pub use items::{Nic, Owner, Port};
pub use owners::OwnerGroups;
pub use ranges::Ranges;
pub use release::{Generation, Release, UnknownRelease};
pub use restore::restore;
pub use settings::{Environment, Settings, VARIABLES_WITHOUT_FLAG};
pub use sidecar::iptables;
pub use variables::variables;
pub use warning::Warning;

#[cfg(test)]
mod tests;
