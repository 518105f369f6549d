//! What rules do to a packet at a hook, whatever rules do it.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Hook, Outcome, Passage};
use crate::rules::CtState;

/// Something that is different about a packet after a hook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The hook.
    pub hook: Hook,
    /// What changed.
    pub effect: Effect,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The packet's mark is another one.
    Mark(u32),
    /// The connection's mark is another one.
    ConnectionMark(u32),
    /// It is in a conntrack zone.
    Zone(u16),
    /// conntrack does not see it.
    Untracked,
    /// It goes elsewhere.
    Destination(SocketAddr),
    /// It seems to come from elsewhere; none when the kernel picks.
    Source(Option<SocketAddr>),
    /// It goes to the socket on this port, as it is.
    Socket(u16),
    /// It is gone.
    Dropped,
    /// It is gone, and the sender told how.
    Rejected(String),
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(mark) => write!(f, "mark {mark:#x}"),
            Self::ConnectionMark(mark) => write!(f, "connection mark {mark:#x}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Untracked => f.write_str("untracked"),
            Self::Destination(to) => write!(f, "to {to}"),
            Self::Source(Some(from)) => write!(f, "from {from}"),
            Self::Source(None) => f.write_str("from an address of the interface"),
            Self::Socket(port) => write!(f, "to the socket on port {port} as it is"),
            Self::Dropped => f.write_str("dropped"),
            Self::Rejected(with) => write!(f, "rejected with {with}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hook, self.effect)
    }
}

/// What a hook changed.
pub(super) fn of(passage: &Passage) -> Vec<Change> {
    let (came, left) = (&passage.came, &passage.left);
    let mut effects = Vec::new();
    if came.zone != left.zone {
        effects.extend(left.zone.map(Effect::Zone));
    }
    if came.state != left.state && left.state == CtState::Untracked {
        effects.push(Effect::Untracked);
    }
    if came.mark != left.mark {
        effects.push(Effect::Mark(left.mark));
    }
    if came.connmark != left.connmark {
        effects.push(Effect::ConnectionMark(left.connmark));
    }
    if came.dst != left.dst {
        effects.push(Effect::Destination(left.dst));
    }
    for (_, table) in &passage.tables {
        match &table.decided {
            Outcome::Intercepted { port, .. } => effects.push(Effect::Socket(*port)),
            Outcome::Masqueraded { .. } => effects.push(Effect::Source(None)),
            Outcome::SourceNat { .. } => effects.push(Effect::Source(Some(left.src))),
            Outcome::Dropped { .. } => effects.push(Effect::Dropped),
            Outcome::Rejected { with, .. } => effects.push(Effect::Rejected(with.clone())),
            Outcome::Accepted { .. }
            | Outcome::Redirected { .. }
            | Outcome::DestinationNat { .. }
            | Outcome::Unknown { .. } => {}
        }
    }
    let hook = passage.hook;
    effects
        .into_iter()
        .map(|effect| Change { hook, effect })
        .collect()
}
