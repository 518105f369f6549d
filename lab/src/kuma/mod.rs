//! The rules of Kuma: what `kumactl install transparent-proxy` writes for a configuration, word for word.
//!
//! Pure. [`Config`] is what flags and the configuration file say, [`Host`] what the installer finds on the machine;
//! [`iptables`] joins them to rules in Kuma's own order, [`restore()`] to the text for `iptables-restore --noflush`.
//! What Kuma gives up with a line in its log, or in silence, comes back as a [`Warning`] beside the rules.

mod config;
mod emission;
mod flags;
mod nat;
mod raw;
mod resolved;
mod text;
mod uids;
mod vnet;
mod warning;

pub use config::{Capture, Config, Families, Host, Waiting};
pub use resolved::iptables;
pub use text::{loopback_addresses, restore, restore_command, tries};
pub use uids::{ForUids, Transport};
pub use vnet::Vnet;
pub use warning::Warning;

#[cfg(test)]
mod tests;
