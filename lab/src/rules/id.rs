//! Names of things in a rule set: address family, table, and [`RuleId`], the key every other module joins on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Address family of a rule set: `iptables` or `ip6tables`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, serialized as `ipv4`.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6, serialized as `ipv6`.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The lower-case name used in keys: `ipv4` or `ipv6`.
    pub fn key(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A table of rules, in the order a packet meets them at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Before conntrack.
    Raw,
    /// Marks and TPROXY.
    Mangle,
    /// Asked once per connection, for its first packet.
    Nat,
    /// Accept or drop.
    Filter,
}

impl Table {
    /// Every table that can be named in a rule file.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter];

    /// The name as rule files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The built-in chains of the table, in the order `iptables -L` lists them.
    ///
    /// Whether a dump lists an unused one depends on the backend (`iptables-nft` lists those in use, legacy all),
    /// so a parsed table always has all of them.
    pub fn builtin_chains(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["PREROUTING", "OUTPUT"],
            Self::Mangle => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            Self::Nat => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            Self::Filter => &["INPUT", "FORWARD", "OUTPUT"],
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which rule: the key that joins plan, counters, trace, expectation and report. Never join on rule text.
///
/// `Display` is what people read (`nat ISTIO_OUTPUT 4`). [`RuleId::key`] adds the family (`ipv4 nat ISTIO_OUTPUT 4`);
/// it is what [`FromStr`] and serde use, so a `RuleId` can be a JSON map key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleId {
    /// Address family of the rule set.
    pub family: Family,
    /// Table of the chain.
    pub table: Table,
    /// Chain name; never holds white space.
    pub chain: String,
    /// Position in the chain, counted from 1 as `iptables --line-numbers` does.
    pub ordinal: u32,
}

impl RuleId {
    /// Names one rule.
    pub fn new(family: Family, table: Table, chain: impl Into<String>, ordinal: u32) -> Self {
        Self {
            family,
            table,
            chain: chain.into(),
            ordinal,
        }
    }

    /// The complete name, `ipv4 nat ISTIO_OUTPUT 4`; [`FromStr`] reads it back.
    pub fn key(&self) -> String {
        format!("{} {self}", self.family.key())
    }

    /// The name without family and table, `ISTIO_OUTPUT 4`.
    pub fn short(&self) -> String {
        format!("{} {}", self.chain, self.ordinal)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.table, self.chain, self.ordinal)
    }
}

impl From<RuleId> for String {
    fn from(id: RuleId) -> Self {
        id.key()
    }
}

/// A text that is not a [`RuleId::key`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` does not name a rule, expected something like `ipv4 nat ISTIO_OUTPUT 4`")]
pub struct ParseRuleIdError(String);

impl FromStr for RuleId {
    type Err = ParseRuleIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseRuleIdError(text.to_owned());
        let words: Vec<&str> = text.split(' ').collect();
        let [family, table, chain, ordinal] = words[..] else {
            return Err(wrong());
        };
        let family = [Family::V4, Family::V6]
            .into_iter()
            .find(|it| it.key() == family)
            .ok_or_else(wrong)?;
        let table = Table::ALL.into_iter().find(|it| it.name() == table);
        let ordinal: u32 = ordinal.parse().map_err(|_| wrong())?;
        if chain.is_empty() || chain.contains(char::is_whitespace) || ordinal == 0 {
            return Err(wrong());
        }
        Ok(Self::new(family, table.ok_or_else(wrong)?, chain, ordinal))
    }
}

impl TryFrom<String> for RuleId {
    type Error = ParseRuleIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
