//! The values match options take: protocol, interface, ports, owner, connection state, and their negation.
//!
//! `Display` of each is the word `iptables-save` prints.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A condition that may be inverted with `!`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Negatable<T> {
    /// Whether a `!` precedes the option.
    pub negated: bool,
    /// What the option names.
    pub value: T,
}

impl<T> Negatable<T> {
    /// A condition without `!`.
    pub fn is(value: T) -> Self {
        Self {
            negated: false,
            value,
        }
    }

    /// A condition with `!`.
    pub fn is_not(value: T) -> Self {
        Self {
            negated: true,
            value,
        }
    }

    /// Whether the condition holds, given whether the plain value matched.
    pub fn holds(&self, matched: bool) -> bool {
        matched != self.negated
    }
}

impl<T: fmt::Display> fmt::Display for Negatable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.value)
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, 6.
    Tcp,
    /// UDP, 17.
    Udp,
    /// Any other protocol by its IANA number.
    Other(u8),
}

/// Names iptables knows by itself (`xtables_chain_protos`), without /etc/protocols; the first name of a number is
/// the one it prints.
const PROTOCOLS: [(&str, u8); 11] = [
    ("tcp", 6),
    ("sctp", 132),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-mh", 135),
    ("mh", 135),
];

impl Protocol {
    /// The protocol with this IANA number.
    pub fn from_number(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            other => Self::Other(other),
        }
    }

    /// Reads a name or a number; `None` for a name iptables does not know by itself.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = PROTOCOLS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let number = known.map(|(_, number)| *number);
        number.or_else(|| name.parse().ok()).map(Self::from_number)
    }

    /// Whether iptables knows ports of it: tcp, udp, udplite, dccp, sctp (`multiport`, and `--to-ports`).
    pub fn has_ports(self) -> bool {
        matches!(self.number(), 6 | 17 | 33 | 132 | 136)
    }

    /// The IANA number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match PROTOCOLS.iter().find(|(_, known)| *known == number) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&number.to_string()),
        }
    }
}

/// An interface name, or a prefix when it ends in `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(String);

impl Interface {
    /// `lo`, or `eth+` for every name that starts with `eth`. `None` for what the kernel cannot hold: an empty name,
    /// one over 15 bytes, or one with white space.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= 15 && !name.contains(char::is_whitespace);
        fits.then(|| Self(name.to_owned()))
    }

    /// The name as rule files spell it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an interface of this name is meant. A packet without the interface has the empty name.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('+') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Ports `first..=last`; `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// One port.
    pub fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// `first..=last`, or `None` when that is empty.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether the port lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The range in the notation of `--to-ports`: `15001` or `1-100`.
    pub fn dashed(self) -> String {
        self.joined('-')
    }

    fn joined(self, separator: char) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}{separator}{}", self.first, self.last)
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.joined(':'))
    }
}

/// Who `-m owner` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerId {
    /// Ids `first..=last`.
    Range {
        /// Lowest id.
        first: u32,
        /// Highest id.
        last: u32,
    },
    /// A user or group name, resolved by iptables on the machine that loads the rule.
    Name(String),
}

impl OwnerId {
    /// One id.
    pub fn one(id: u32) -> Self {
        Self::Range {
            first: id,
            last: id,
        }
    }

    /// Whether the id is meant; `None` for a name, which only the loading machine can resolve.
    pub fn contains(&self, id: u32) -> Option<bool> {
        match self {
            Self::Range { first, last } => Some((*first..=*last).contains(&id)),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { first, last } if first == last => write!(f, "{first}"),
            Self::Range { first, last } => write!(f, "{first}-{last}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A connection state of `-m conntrack --ctstate`, in the order iptables prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum CtState {
    Invalid,
    New,
    Related,
    Established,
    Untracked,
    Snat,
    Dnat,
}

impl CtState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::New,
        Self::Related,
        Self::Established,
        Self::Untracked,
        Self::Snat,
        Self::Dnat,
    ];

    /// The name as rule files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::New => "NEW",
            Self::Related => "RELATED",
            Self::Established => "ESTABLISHED",
            Self::Untracked => "UNTRACKED",
            Self::Snat => "SNAT",
            Self::Dnat => "DNAT",
        }
    }
}

impl fmt::Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
