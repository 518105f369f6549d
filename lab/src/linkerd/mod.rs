//! The rules of Linkerd: the commands `linkerd-proxy-init` runs for a configuration, in its order.
//!
//! Pure. proxy-init runs one iptables process for each rule: [`commands`] lists them, [`restore()`] gives the text
//! that has the same effect in an empty nat table. Both come from one list, the same for both families. What
//! proxy-init drops with a line in its log, and what it would fail on, comes back as a [`Warning`].

mod config;
mod flags;
mod ports;
mod rules;
mod steps;
mod warning;

pub use config::{Config, Mode};
pub use ports::{MULTIPORT_LIMIT, PortSpan, multiports};
pub use rules::{OUTPUT_CHAIN, REDIRECT_CHAIN, restore};
pub use steps::{cleanup, commands, sysctl};
pub use warning::{Warning, warnings};

#[cfg(test)]
mod tests;
