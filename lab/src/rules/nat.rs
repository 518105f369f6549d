//! What `DNAT`, `SNAT` and `MASQUERADE` translate to.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::values::PortRange;

/// The addresses and ports a translation picks from.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NatRange {
    /// First and last address; `None` keeps the packet's own.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The ports; `None` keeps the packet's own where it can.
    pub ports: Option<PortRange>,
    /// How the kernel picks.
    pub pick: NatPick,
}

/// How the kernel picks from a range (`NF_NAT_RANGE_*` flags).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NatPick {
    /// `--random`
    pub random: bool,
    /// `--random-fully`
    pub random_fully: bool,
    /// `--persistent`: a client gets the same address each time.
    pub persistent: bool,
}

impl NatPick {
    /// The options, in the order iptables prints them.
    pub(super) fn options(self) -> impl Iterator<Item = &'static str> {
        [
            (self.random, "--random"),
            (self.random_fully, "--random-fully"),
            (self.persistent, "--persistent"),
        ]
        .into_iter()
        .filter_map(|(given, option)| given.then_some(option))
    }
}

impl NatRange {
    /// The one address it translates to, when there is no choice.
    pub fn only_address(&self) -> Option<IpAddr> {
        self.addresses
            .filter(|(first, last)| first == last)
            .map(|(first, _)| first)
    }
}

/// The value of `--to-destination` and `--to-source`: `1.2.3.4-1.2.3.9:80-90`, `[fd00::1]:80`, `:80`.
impl fmt::Display for NatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((first, last)) = self.addresses {
            let brackets = first.is_ipv6() && self.ports.is_some();
            f.write_str(if brackets { "[" } else { "" })?;
            write!(f, "{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
            f.write_str(if brackets { "]" } else { "" })?;
        }
        match self.ports {
            Some(ports) => write!(f, ":{}", ports.dashed()),
            None => Ok(()),
        }
    }
}
