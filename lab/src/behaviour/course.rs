//! What the model says of a flow: the rules it meets, what they change, and where it ends.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::answer::{self, Answer};
use super::changes::{self, Change};
use super::flow::{Flow, Origin};
use super::stage::{INTERFACE, Stage};
use super::subject::Subject;
use crate::model::{Hook, Journey, JourneyEnd, Outcome, Packet, journey};
use crate::rules::{CtState, Protocol, RuleId, RuleSet, TcpFlags};

/// The source port of a flow in the model; in a kernel it is another one that no rule names.
const SOURCE_PORT: u16 = 40_000;
/// The flag of a reset.
const RST: u8 = 0x04;

/// The way of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The rules its first packet matches, hook by hook, in order.
    pub hops: Vec<Hop>,
    /// What they change.
    pub changes: Vec<Change>,
    /// Where it ends.
    pub end: End,
}

/// One hook on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The hook.
    pub hook: Hook,
    /// The rules that match, in order; jumps included.
    pub rules: Vec<RuleId>,
}

/// Where a flow ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum End {
    /// A socket has it, and its answer arrives.
    Reached(Arrival),
    /// A socket would have it, but no answer arrives.
    Unanswered {
        /// The socket.
        arrival: Arrival,
        /// What becomes of the answer.
        why: String,
    },
    /// Rules drop it.
    Dropped,
    /// Rules send it back, and the sender is told.
    Rejected {
        /// How.
        with: String,
    },
    /// The model cannot tell.
    Unknown {
        /// Why.
        why: String,
    },
}

/// How a socket sees a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arrival {
    /// Whose socket.
    pub place: Place,
    /// The port it listens at.
    pub port: u16,
    /// The address that the connection has at its end.
    pub local: SocketAddr,
    /// The destination before translation, as `SO_ORIGINAL_DST` tells; outside nobody knows.
    pub original: Option<SocketAddr>,
}

/// Whose socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// One of the pod.
    Pod,
    /// One of another machine.
    Outside,
}

impl Course {
    /// Every rule that matches, in order.
    pub fn rules(&self) -> impl Iterator<Item = &RuleId> {
        self.hops.iter().flat_map(|hop| &hop.rules)
    }

    /// Whether the model is sure of it.
    pub fn is_known(&self) -> bool {
        !matches!(self.end, End::Unknown { .. })
    }

    /// Whether two sets do the same to a flow: the same changes at the same hooks, and the same end.
    pub fn behaves_as(&self, other: &Self) -> bool {
        self.changes == other.changes && self.end == other.end
    }
}

impl End {
    /// The socket that has it, or would.
    pub fn arrival(&self) -> Option<&Arrival> {
        match self {
            Self::Reached(arrival) | Self::Unanswered { arrival, .. } => Some(arrival),
            Self::Dropped | Self::Rejected { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Outside => write!(f, "outside {}", self.local),
            Place::Pod => {
                write!(f, "pod {}", self.local)?;
                if self.local.port() != self.port {
                    write!(f, " at port {}", self.port)?;
                }
                match self.original {
                    Some(original) if original != self.local => {
                        write!(f, ", original {original}")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(arrival) => arrival.fmt(f),
            Self::Unanswered { arrival, why } => write!(f, "{arrival}, unanswered: {why}"),
            Self::Dropped => f.write_str("dropped"),
            Self::Rejected { with } => write!(f, "rejected with {with}"),
            Self::Unknown { why } => write!(f, "unknown: {why}"),
        }
    }
}

/// Follows a flow through the pod.
pub fn course(subject: &Subject, stage: &Stage, flow: &Flow) -> Course {
    let family = flow.family();
    let mut host = subject.host(stage, family);
    let leaves = flow.leaves.clone().map(|it| (flow.to.ip(), it));
    host.behind.extend(leaves);
    if let Origin::Outside { interface } = &flow.origin
        && interface != INTERFACE
    {
        host.behind.push((flow.source, interface.clone()));
    }
    let none = RuleSet::empty(family);
    let rules = subject.rules(family).unwrap_or(&none);
    let first = packet(flow);
    let way = journey(rules, &host, first.clone());
    let end = match &way.end {
        JourneyEnd::Unknown(why) => End::Unknown { why: why.clone() },
        JourneyEnd::Gone(Outcome::Rejected { with, .. }) => End::Rejected { with: with.clone() },
        JourneyEnd::Gone(_) => End::Dropped,
        JourneyEnd::Delivered { .. } | JourneyEnd::Sent { .. } => {
            let arrival = arrival(flow, &way);
            match answer::answer(rules, &host, flow, &way, &arrival) {
                Answer::Arrives => End::Reached(arrival),
                Answer::Lost(why) => End::Unanswered { arrival, why },
                Answer::Unknown(why) => End::Unknown { why },
            }
        }
    };
    Course {
        hops: hops(&way),
        changes: way.passages.iter().flat_map(changes::of).collect(),
        end,
    }
}

/// The first packet.
pub(super) fn packet(flow: &Flow) -> Packet {
    let source = SocketAddr::new(flow.source, flow.source_port.unwrap_or(SOURCE_PORT));
    let bare = match flow.protocol {
        Protocol::Udp => Packet::udp(source, flow.to),
        _ if flow.stray => Packet {
            state: CtState::Invalid,
            tcp_flags: TcpFlags::from_bits(RST).unwrap_or(TcpFlags::NONE),
            ..Packet::tcp(source, flow.to)
        },
        _ => Packet::tcp(source, flow.to),
    };
    match &flow.origin {
        Origin::Outside { interface } => bare.coming_in(interface),
        Origin::Pod { uid, gid, mark } => bare.owned_by(*uid, *gid).marked(*mark),
    }
}

fn hops(way: &Journey) -> Vec<Hop> {
    let hop = |passage: &crate::model::Passage| {
        let moved = passage.tables.iter().flat_map(|(_, it)| it.moved());
        Hop {
            hook: passage.hook,
            rules: moved.collect(),
        }
    };
    way.passages.iter().map(hop).collect()
}

fn arrival(flow: &Flow, way: &Journey) -> Arrival {
    let last = way.passages.last().map(|it| it.left.dst);
    match &way.end {
        JourneyEnd::Delivered { at, original } => {
            let handed = way.passages.iter().flat_map(|it| &it.tables);
            let handed = handed
                .map(|(_, it)| &it.decided)
                .any(|it| matches!(it, Outcome::Intercepted { .. }));
            Arrival {
                place: Place::Pod,
                port: at.port(),
                local: match handed {
                    true => last.unwrap_or(*at),
                    false => *at,
                },
                original: Some(*original),
            }
        }
        JourneyEnd::Sent { to } => Arrival {
            place: Place::Outside,
            port: to.port(),
            local: *to,
            original: None,
        },
        JourneyEnd::Gone(_) | JourneyEnd::Unknown(_) => {
            unreachable!("asked for flows that arrive: {flow}")
        }
    }
}
