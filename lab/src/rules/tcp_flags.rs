//! TCP flags as `--tcp-flags` names them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of TCP flags: the low six bits of byte 13 of the header.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TcpFlags(u8);

/// The names, in the order of the bits and of `iptables-save`.
const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The flag of the segment that opens a connection.
    pub const SYN: Self = Self(0x02);
    /// FIN, SYN, RST and ACK: what `--syn` looks at.
    pub const SYN_MASK: Self = Self(0x17);

    /// Flags by their bits; `None` when a bit has no name.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits <= 0x3f).then_some(Self(bits))
    }

    /// The bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Reads `SYN,ACK`, `ALL` or `NONE`.
    pub fn from_names(names: &str) -> Option<Self> {
        let mut bits = 0;
        for name in names.split(',') {
            bits |= match name {
                name if name.eq_ignore_ascii_case("ALL") => 0x3f,
                name if name.eq_ignore_ascii_case("NONE") => 0,
                name => {
                    1 << NAMES
                        .iter()
                        .position(|known| known.eq_ignore_ascii_case(name))?
                }
            };
        }
        Some(Self(bits))
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().enumerate();
        let set: Vec<&str> = names
            .filter(|(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        f.pad(&if set.is_empty() {
            "NONE".to_owned()
        } else {
            set.join(",")
        })
    }
}

/// `--tcp-flags mask wanted`: matches when exactly the wanted ones of the flags looked at are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlagTest {
    /// The flags looked at.
    pub mask: TcpFlags,
    /// Those of them that must be set.
    pub wanted: TcpFlags,
}

impl TcpFlagTest {
    /// `--syn`
    pub const SYN: Self = Self {
        mask: TcpFlags::SYN_MASK,
        wanted: TcpFlags::SYN,
    };

    /// Whether a segment with these flags is meant.
    pub fn matches(self, flags: TcpFlags) -> bool {
        flags.0 & self.mask.0 == self.wanted.0
    }
}

impl fmt::Display for TcpFlagTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mask, self.wanted)
    }
}
