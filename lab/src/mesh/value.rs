//! Values of flags.

use std::{fmt, net::IpAddr, str::FromStr};

use super::Wrong;
use crate::{istio::Cidr, rules::Family};

/// An address, or an address with the length of a prefix; goes into a rule as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    text: String,
    family: Family,
}

impl Subnet {
    /// Family of the address.
    pub fn family(&self) -> Family {
        self.family
    }

    /// An address without a prefix length, such as a DNS server.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.text.split('/').next().unwrap_or_default();
        address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Reads what must have a prefix length.
    pub(crate) fn with_prefix(text: &str) -> Result<Self, Wrong> {
        const FIX: &str = "give ranges like 10.0.0.0/8";
        let cidr: Cidr = text
            .parse()
            .map_err(|why| Wrong::new(text, format!("{why}"), FIX))?;
        Ok(Self {
            text: text.to_owned(),
            family: cidr.family(),
        })
    }
}

impl FromStr for Subnet {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                text: text.to_owned(),
                family: Family::of(address),
            });
        }
        let wrong = |_| {
            Wrong::new(
                text,
                "it is neither an address nor a range",
                "give something like 10.0.0.1 or 10.0.0.0/8",
            )
        };
        Self::with_prefix(text).map_err(wrong)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One number, in digits only.
///
/// # Errors
/// It is none, or too large.
pub fn whole_number<T: FromStr>(values: &[&str], fix: &'static str) -> Result<T, Wrong> {
    let text = values.last().copied().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Wrong::new(text, "it is no such number", fix))
}

/// A switch: nothing more, or `true` or `false`.
///
/// # Errors
/// Another word.
pub fn switch(values: &[&str]) -> Result<bool, Wrong> {
    match values.last().copied().unwrap_or("true") {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Wrong::new(
            other,
            "it is neither true nor false",
            "give true or false",
        )),
    }
}

/// A time in whole seconds, with or without the unit.
///
/// # Errors
/// It is none.
pub fn seconds(values: &[&str]) -> Result<u32, Wrong> {
    let text = values.last().copied().unwrap_or_default();
    whole_number(
        &[text.strip_suffix('s').unwrap_or(text)],
        "give seconds, like 2s",
    )
}
