//! Address ranges as Istio prints them: the address in canonical form, host bits kept.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::rules::Family;

/// An address and a prefix length. Unlike a network, it may have host bits (`127.0.0.1/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Family of the address.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The address is a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }

    /// Length of the prefix.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Why a text is no address range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoCidr {
    /// No `/`.
    #[error("no prefix length (`/32` is one address)")]
    NoPrefix,
    /// The part before the `/`.
    #[error("`{0}` is no IP address")]
    Address(String),
    /// The part after the `/`.
    #[error("`{0}` is no prefix length of that family")]
    Bits(String),
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let (address, bits) = text.rsplit_once('/').ok_or(NoCidr::NoPrefix)?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| NoCidr::Address(address.to_owned()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        // As Go reads it: digits only, and no zero before another digit.
        let plain =
            bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        match bits.parse() {
            Ok(n) if plain && n <= longest => Ok(Self { address, bits: n }),
            _ => Err(NoCidr::Bits(bits.to_owned())),
        }
    }
}
