//! What a rule of nft says, step by step, as both its text and its JSON spell it.

use std::fmt;

use crate::rules::id::Family;
use crate::rules::set::Counter;

/// One step of a rule. nft does them in their order, and stops at a condition that does not hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub statement: Statement,
    /// As the text has it, for what is kept word for word.
    pub words: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Condition {
        left: Expression,
        operator: Operator,
        right: Expression,
    },
    /// `None` where the text gives no figures.
    Counter(Option<Counter>),
    Accept,
    Drop,
    Return,
    /// On to the next rule, as without it.
    Continue,
    Jump(String),
    Goto(String),
    /// `KEY set VALUE`
    Set {
        key: Expression,
        value: Expression,
    },
    Nat(Nat),
    Tproxy {
        family: Option<Family>,
        address: Option<Expression>,
        port: Option<Expression>,
    },
    /// `with`, in the words of JSON: a type and a code.
    Reject {
        with: Option<String>,
        code: Option<String>,
    },
    Notrack,
    Log {
        prefix: Option<String>,
        level: Option<String>,
        group: Option<u16>,
    },
    /// Something this reader does not know. Whether it only asks, or does something to the packet.
    Unknown {
        asks: bool,
    },
}

/// A translation of addresses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Nat {
    pub kind: NatKind,
    pub family: Option<Family>,
    pub address: Option<Expression>,
    pub port: Option<Expression>,
    pub flags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NatKind {
    Redirect,
    Masquerade,
    Source,
    Destination,
}

impl NatKind {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "redirect" => Some(Self::Redirect),
            "masquerade" => Some(Self::Masquerade),
            "snat" => Some(Self::Source),
            "dnat" => Some(Self::Destination),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// None written: equal, or for bits any of them; `in` in JSON.
    Implied,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Operator {
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "in" => Some(Self::Implied),
            "==" | "eq" => Some(Self::Equal),
            "!=" | "ne" => Some(Self::NotEqual),
            "<" | "lt" => Some(Self::Less),
            "<=" | "le" => Some(Self::AtMost),
            ">" | "gt" => Some(Self::Greater),
            ">=" | "ge" => Some(Self::AtLeast),
            _ => None,
        }
    }
}

/// An operation on bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BitOperator {
    And,
    Or,
    Xor,
}

impl BitOperator {
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "&" | "and" => Some(Self::And),
            "|" | "or" => Some(Self::Or),
            "^" | "xor" => Some(Self::Xor),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Number(u64),
    /// A name, an address, a string.
    Word(String),
    /// Bits that are named one by one: `established,related`.
    List(Vec<Expression>),
    /// `{ 53, 15008 }`
    Set(Vec<Expression>),
    Range(Box<Expression>, Box<Expression>),
    Prefix(String, u8),
    /// `meta mark`
    Meta(String),
    /// `ct mark`, `ct original zone`
    Ct(String, Option<String>),
    /// `ip saddr`, `tcp dport`
    Payload(String, String),
    /// `fib daddr type`
    Fib(Vec<String>, String),
    Bits(BitOperator, Box<Expression>, Box<Expression>),
}

impl Expression {
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    /// A number that fits.
    pub fn number<N: TryFrom<u64>>(&self) -> Option<N> {
        match self {
            Self::Number(number) => N::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The members of a set, or the one value there is.
    pub fn members(&self) -> &[Expression] {
        match self {
            Self::Set(members) => members,
            one => std::slice::from_ref(one),
        }
    }
}

/// The family of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TableFamily {
    Ip,
    Ip6,
    /// Both.
    Inet,
    /// No IP at all, or not only: `arp`, `bridge`, `netdev`.
    Other(&'static str),
}

impl TableFamily {
    pub const NAMES: [&'static str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

    pub fn from_name(name: &str) -> Option<Self> {
        Some(match Self::NAMES.into_iter().find(|it| *it == name)? {
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "inet" => Self::Inet,
            other => Self::Other(other),
        })
    }

    /// Whether its rules are asked about packets of a family.
    pub fn sees(&self, family: Family) -> bool {
        match self {
            Self::Ip => family == Family::V4,
            Self::Ip6 => family == Family::V6,
            Self::Inet => true,
            Self::Other(_) => false,
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Other(name) => name,
        })
    }
}
