//! The hooks of the network stack at which tables are asked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in its way through a namespace a packet meets rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Came in by an interface.
    Prerouting,
    /// For a socket of this namespace.
    Input,
    /// Through this namespace.
    Forward,
    /// From a socket of this namespace.
    Output,
    /// About to leave by an interface, lo included.
    Postrouting,
}

impl Hook {
    /// Every hook, by its number in the kernel (`enum nf_inet_hooks`).
    pub const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// The hook with this number in the kernel.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in the kernel.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether a packet can go from this hook straight to another one.
    pub fn leads_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Prerouting, Self::Input | Self::Forward)
                | (Self::Forward | Self::Output, Self::Postrouting)
                // Over lo.
                | (Self::Postrouting, Self::Prerouting)
        )
    }

    /// The built-in chain of the hook, as iptables spells it.
    pub fn chain(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.chain())
    }
}
