//! What one table did to a packet at one hook: every rule asked, and the decision.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::mismatch::Mismatch;
use super::packet::Packet;
use crate::rules::Hook;
use crate::rules::{NatRange, PortRange, RuleId};

/// The walk of a packet through one table at one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traversal {
    /// Where.
    pub hook: Hook,
    /// Every rule asked, in order; a rule asked twice appears twice.
    pub tried: Vec<Try>,
    /// How it ended.
    pub decided: Outcome,
    /// The packet as it leaves the table: its marks and zone. Where nat sends it, [`Traversal::decided`] says.
    pub left: Packet,
}

impl Traversal {
    /// The rules whose counter moves: each that matched, jumps included, in order.
    pub fn moved(&self) -> Vec<RuleId> {
        let matched = self
            .tried
            .iter()
            .filter(|it| it.result == TryResult::Matched);
        matched.map(|it| it.rule.clone()).collect()
    }

    /// Why a rule that was asked did not match; `None` when it matched or was not asked.
    pub fn mismatch(&self, rule: &RuleId) -> Option<&Mismatch> {
        self.tried.iter().find_map(|it| match &it.result {
            TryResult::Failed(mismatch) if it.rule == *rule => Some(mismatch),
            _ => None,
        })
    }
}

/// One rule asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The rule.
    pub rule: RuleId,
    /// Its answer.
    pub result: TryResult,
}

/// The answer of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TryResult {
    /// Every condition held; its counter moves.
    Matched,
    /// A condition failed: the first that did.
    Failed(Mismatch),
    /// Nothing modelled failed, and something is not modelled: what.
    Unknown(String),
}

/// What settled the matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A rule.
    Rule(RuleId),
    /// The policy of this built-in chain.
    Policy(String),
    /// Nothing was asked: these rules do not hold the table, or not for the packet's family, or the table has no
    /// chain at the hook.
    Nobody,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "{rule}"),
            Self::Policy(chain) => write!(f, "the policy of {chain}"),
            Self::Nobody => f.write_str("no rule"),
        }
    }
}

/// How a table decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The packet goes on as it is.
    Accepted {
        /// What let it.
        by: By,
    },
    /// The connection is turned to this machine; where exactly, [`super::redirect_landing`] says.
    Redirected {
        /// The new port, `None` when the rule keeps it. Of a range the kernel picks.
        ports: Option<PortRange>,
        /// The rule.
        by: RuleId,
    },
    /// The connection goes to another destination.
    DestinationNat {
        /// Where.
        to: NatRange,
        /// The rule.
        by: RuleId,
    },
    /// The connection seems to come from another source.
    SourceNat {
        /// From where.
        to: NatRange,
        /// The rule.
        by: RuleId,
    },
    /// The connection seems to come from the address of the interface it leaves by.
    Masqueraded {
        /// From which ports.
        ports: Option<PortRange>,
        /// The rule.
        by: RuleId,
    },
    /// The packet goes to a local socket as it is; without such a socket it is gone (`tproxy_tg4` in
    /// net/netfilter/xt_TPROXY.c).
    Intercepted {
        /// The socket's address; `None` for that of the interface the packet came in by.
        address: Option<IpAddr>,
        /// The socket's port.
        port: u16,
        /// The rule.
        by: RuleId,
    },
    /// The packet is gone, and the sender told.
    Rejected {
        /// The answer.
        with: String,
        /// The rule.
        by: RuleId,
    },
    /// The packet is gone.
    Dropped {
        /// What dropped it.
        by: By,
    },
    /// The model cannot tell.
    Unknown {
        /// The rule it could not get past.
        rule: RuleId,
        /// What it does not understand.
        why: String,
    },
}

impl Outcome {
    /// Whether two outcomes do the same to the packet, whichever rule decided.
    pub fn same_effect(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Redirected { ports, .. }, Self::Redirected { ports: others, .. }) => {
                ports == others
            }
            (Self::DestinationNat { to, .. }, Self::DestinationNat { to: other, .. })
            | (Self::SourceNat { to, .. }, Self::SourceNat { to: other, .. }) => to == other,
            (Self::Masqueraded { ports, .. }, Self::Masqueraded { ports: others, .. }) => {
                ports == others
            }
            (
                Self::Intercepted { address, port, .. },
                Self::Intercepted {
                    address: other,
                    port: at,
                    ..
                },
            ) => (address, port) == (other, at),
            (Self::Rejected { with, .. }, Self::Rejected { with: other, .. }) => with == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { by } => write!(f, "accepted by {by}"),
            Self::Dropped { by } => write!(f, "dropped by {by}"),
            Self::Redirected {
                ports: Some(ports),
                by,
            } => write!(f, "redirected to port {} by {by}", ports.dashed()),
            Self::Redirected { ports: None, by } => write!(f, "redirected to this machine by {by}"),
            Self::DestinationNat { to, by } => write!(f, "sent to {to} by {by}"),
            Self::SourceNat { to, by } => write!(f, "made to come from {to} by {by}"),
            Self::Masqueraded { by, .. } => {
                write!(f, "made to come from the interface's address by {by}")
            }
            Self::Intercepted { port, by, .. } => {
                write!(f, "handed to the socket on port {port} by {by}")
            }
            Self::Rejected { with, by } => write!(f, "rejected with {with} by {by}"),
            Self::Unknown { rule, why } => write!(f, "unknown at {rule}: {why}"),
        }
    }
}
