//! Marks: what a packet or a connection is marked with, how matches read it, how targets change it.
//!
//! iptables has several words for one change; the kernel keeps two numbers. So does [`MarkChange`], and texts that
//! mean the same change are equal.

use std::fmt;

/// A mark under a mask: matches when `mark & mask == value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkValue {
    /// The bits wanted.
    pub value: u32,
    /// The bits looked at.
    pub mask: u32,
}

impl MarkValue {
    /// Whether a mark is meant.
    pub fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

impl fmt::Display for MarkValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask == u32::MAX {
            return Ok(());
        }
        write!(f, "/{:#x}", self.mask)
    }
}

/// A change of a mark: clears the bits of the mask, then flips those of the value (`xt_MARK`: `(mark & ~mask) ^
/// value` in net/netfilter/xt_mark.c; TPROXY and CONNMARK alike).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkChange {
    /// The bits flipped.
    pub value: u32,
    /// The bits cleared first.
    pub mask: u32,
}

impl MarkChange {
    /// `--set-xmark value/mask`, what `iptables-save` prints for all of them.
    pub fn set_xmark(value: u32, mask: u32) -> Self {
        Self { value, mask }
    }

    /// `--set-mark value/mask`: the bits of the value are set even outside the mask.
    pub fn set_mark(value: u32, mask: u32) -> Self {
        let mask = value | mask;
        Self { value, mask }
    }

    /// `--and-mark bits`
    pub fn and_mark(bits: u32) -> Self {
        let (value, mask) = (0, !bits);
        Self { value, mask }
    }

    /// `--or-mark bits`
    pub fn or_mark(bits: u32) -> Self {
        let (value, mask) = (bits, bits);
        Self { value, mask }
    }

    /// `--xor-mark bits`
    pub fn xor_mark(bits: u32) -> Self {
        let (value, mask) = (bits, 0);
        Self { value, mask }
    }

    /// The mark after the change.
    pub fn apply(self, mark: u32) -> u32 {
        (mark & !self.mask) ^ self.value
    }
}

impl fmt::Display for MarkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

/// What `CONNMARK` does. The masks select bits of the packet's mark (`nfmask`) and of the connection's (`ctmask`);
/// see `connmark_tg` in net/netfilter/xt_connmark.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnmarkAction {
    /// Changes the connection's mark.
    Set(MarkChange),
    /// Copies the packet's mark to the connection.
    Save {
        /// Bits of the packet's mark taken.
        nfmask: u32,
        /// Bits of the connection's mark cleared first.
        ctmask: u32,
    },
    /// Copies the connection's mark to the packet.
    Restore {
        /// Bits of the packet's mark cleared first.
        nfmask: u32,
        /// Bits of the connection's mark taken.
        ctmask: u32,
    },
}

impl ConnmarkAction {
    /// The marks of packet and connection afterwards.
    pub fn apply(self, packet: u32, connection: u32) -> (u32, u32) {
        match self {
            Self::Set(change) => (packet, change.apply(connection)),
            Self::Save { nfmask, ctmask } => (packet, (connection & !ctmask) ^ (packet & nfmask)),
            Self::Restore { nfmask, ctmask } => {
                ((packet & !nfmask) ^ (connection & ctmask), connection)
            }
        }
    }
}

impl fmt::Display for ConnmarkAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(change) => write!(f, "--set-xmark {change}"),
            Self::Save { nfmask, ctmask } => {
                write!(f, "--save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
            }
            Self::Restore { nfmask, ctmask } => {
                write!(
                    f,
                    "--restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}"
                )
            }
        }
    }
}
