//! Names of places in the packet filter: table, chain; and verdicts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rules::{Family, Table};

/// The table of observers of every trace has a name that begins so.
pub const OBSERVER_TABLES: &str = "hoplab-trace-";

/// Family of an nftables table; iptables-nft and legacy iptables have `ip` and `ip6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Number of a family that sees no IP hook, such as bridge.
    Other(u8),
}

impl TableFamily {
    /// By `NFPROTO_*` number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            10 => Self::Ip6,
            other => Self::Other(other),
        }
    }

    /// `NFPROTO_*` number.
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
            Self::Other(number) => number,
        }
    }

    /// The family of the tables of iptables, or of ip6tables.
    pub fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ip,
            Family::V6 => Self::Ip6,
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.pad("ip"),
            Self::Ip6 => f.pad("ip6"),
            Self::Inet => f.pad("inet"),
            Self::Other(number) => write!(f, "family-{number}"),
        }
    }
}

/// A chain: family, table, name. `Display` is `ip nat ISTIO_OUTPUT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainName {
    /// Family of the table.
    pub family: TableFamily,
    /// Name of the table.
    pub table: String,
    /// Name of the chain.
    pub chain: String,
}

impl ChainName {
    /// Family and table of an iptables chain; none for a native nftables table.
    pub fn iptables(&self) -> Option<(Family, Table)> {
        let family = match self.family {
            TableFamily::Ip => Family::V4,
            TableFamily::Ip6 => Family::V6,
            TableFamily::Inet | TableFamily::Other(_) => return None,
        };
        let table = Table::ALL.into_iter().find(|it| it.name() == self.table)?;
        Some((family, table))
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}

/// What a rule or a policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Done with this chain's hook; nat targets end so too.
    Accept,
    /// Gone.
    Drop,
    /// On with the next rule.
    Continue,
    /// Back to the calling chain; in a base chain, on to the policy.
    Return,
    /// Into a chain, and back at its end.
    Jump(String),
    /// Into a chain, not back.
    Goto(String),
    /// To a program in user space.
    Queue,
    /// Taken over by the rule's target.
    Stolen,
    /// Once more through the hook.
    Repeat,
    /// A code that this version does not know.
    Unknown(i32),
    /// Legacy iptables reports the rule but not its verdict, and nothing else tells it.
    NotTold,
}

impl Verdict {
    /// From a verdict code of nftables: `NF_*` from 0 on, `NFT_*` below.
    pub fn from_code(code: i32, chain: Option<String>) -> Self {
        match (code, chain) {
            (-1, _) => Self::Continue,
            (-3, Some(chain)) => Self::Jump(chain),
            (-4, Some(chain)) => Self::Goto(chain),
            (-5, _) => Self::Return,
            // The upper half carries an error number, or the number of a queue.
            (0.., _) => match code & 0xff {
                0 => Self::Drop,
                1 => Self::Accept,
                2 => Self::Stolen,
                3 => Self::Queue,
                4 => Self::Repeat,
                _ => Self::Unknown(code),
            },
            _ => Self::Unknown(code),
        }
    }

    /// True when no further rule of this base chain is asked.
    pub fn ends_chain(&self) -> bool {
        matches!(
            self,
            Self::Accept | Self::Drop | Self::Queue | Self::Stolen | Self::Repeat
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.pad("accept"),
            Self::Drop => f.pad("drop"),
            Self::Continue => f.pad("continue"),
            Self::Return => f.pad("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Queue => f.pad("queue"),
            Self::Stolen => f.pad("stolen"),
            Self::Repeat => f.pad("repeat"),
            Self::Unknown(code) => write!(f, "verdict {code}"),
            Self::NotTold => f.pad("not told"),
        }
    }
}
