//! What `LOG` and `NFLOG` write, and where.

use std::collections::BTreeSet;

/// A `LOG` to the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    /// The syslog level, 4 (warning) when a rule names none.
    pub level: u8,
    /// The words in front.
    pub prefix: String,
    /// What else of the packet is logged.
    pub details: BTreeSet<LogDetail>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Self::WARNING,
            prefix: String::new(),
            details: BTreeSet::new(),
        }
    }
}

/// The names of the syslog levels; the first name of a level is the one `iptables -L` prints.
const LEVELS: [(&str, u8); 11] = [
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warn", 4),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
    ("panic", 0),
];

impl Log {
    /// The level of a rule that names none.
    pub const WARNING: u8 = 4;

    /// Reads a level by its name or number.
    pub fn level(text: &str) -> Option<u8> {
        let named = LEVELS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named
            .map(|(_, level)| *level)
            .or_else(|| text.parse().ok())?;
        (number <= 7).then_some(number)
    }
}

/// A part of the packet `LOG` can add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of the options")]
pub enum LogDetail {
    TcpSequence,
    TcpOptions,
    IpOptions,
    Uid,
    MacDecode,
}

impl LogDetail {
    /// Every detail; bit n of the flags `iptables -L -n` prints stands for the n-th (`XT_LOG_*`; 16 is unused).
    pub const ALL: [(Self, u8); 5] = [
        (Self::TcpSequence, 0x01),
        (Self::TcpOptions, 0x02),
        (Self::IpOptions, 0x04),
        (Self::Uid, 0x08),
        (Self::MacDecode, 0x20),
    ];

    /// The option without its dashes: `log-uid`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpSequence => "log-tcp-sequence",
            Self::TcpOptions => "log-tcp-options",
            Self::IpOptions => "log-ip-options",
            Self::Uid => "log-uid",
            Self::MacDecode => "log-macdecode",
        }
    }
}

/// An `NFLOG` to a process that listens on a netlink group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nflog {
    /// The group.
    pub group: u16,
    /// The words in front.
    pub prefix: String,
    /// How much of the packet is copied; `None` for all.
    pub size: Option<u32>,
    /// How many packets make a message.
    pub threshold: u16,
}

impl Default for Nflog {
    fn default() -> Self {
        Self {
            group: 0,
            prefix: String::new(),
            size: None,
            threshold: 1,
        }
    }
}
