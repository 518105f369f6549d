//! One hop: what happened to a packet at one place, and who says so.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Serialize;

use super::{Process, Source};
use crate::{
    model::{Mismatch, WithoutNat},
    traced::{Hook, Verdict},
};

/// What happened at one place of a connection's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Counted from 1 over the whole path, in the order things happen.
    pub number: u32,
    /// The hook of the packet filter; none where a process acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Interface the packet came in by.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Interface it leaves by.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// Rules of the same base chain that were asked before and did not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// What is different at the packet afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Changed>,
    /// Who saw it.
    pub witnesses: BTreeSet<Witness>,
    /// Packets that its rule counted so far, those of other connections too; where no one counted this packet alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// Steps of the notes under test that speak of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<u8>,
    /// Where witnesses contradict each other, in words that name both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
}

/// What a hop is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A process calls connect(2).
    Connect {
        /// Which.
        process: Process,
        /// errno, when it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A rule matched.
    Rule {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Place in the chain, from 1; none where it is not known.
        ordinal: Option<u32>,
        /// The rule as iptables spells it, without `-A CHAIN`; for native nftables as nft does. None where the rule is
        /// not known.
        text: Option<String>,
        /// What it decided.
        verdict: Verdict,
    },
    /// A base chain came to its end, and its policy decided.
    Policy {
        /// Table.
        table: String,
        /// The base chain.
        chain: String,
        /// The policy.
        verdict: Verdict,
    },
    /// The packet passed a hook, and no rule matched it.
    Passed {
        /// Why nat was not asked, where it has a chain here.
        #[serde(skip_serializing_if = "Option::is_none")]
        without_nat: Option<WithoutNat>,
    },
    /// A process accepted it.
    Accept {
        /// Which.
        process: Process,
        /// Port of its listener.
        listener: u16,
        /// Local end of the socket.
        at: SocketAddr,
        /// Destination before translation, as `SO_ORIGINAL_DST` tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        original: Option<SocketAddr>,
        /// The proxy refused it as a call of itself.
        refused_as_loop: bool,
    },
    /// Nobody listens there.
    Refused {
        /// Where.
        at: SocketAddr,
    },
    /// The node knows no way there, and said so.
    Unreachable,
    /// The sender's own pod knows no way there: connect(2) fails, and no packet is made.
    Unrouted,
    /// What becomes of it is not known.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A rule that was asked and did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Place in the chain, from 1.
    pub ordinal: u32,
    /// The rule, as in [`Event::Rule`].
    pub text: Option<String>,
    /// Why it did not match.
    #[serde(flatten)]
    pub why: Why,
}

/// Why a rule did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Why {
    /// The first of its conditions that fails, by the model.
    Mismatch(Mismatch),
    /// The model can't tell.
    Unknown {
        /// What it does not understand.
        what: String,
    },
    /// The model thinks that it does match, and the kernel went on.
    Contradicted,
}

/// Something that is different at the packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "field")]
pub enum Changed {
    /// Source address and port.
    Source {
        /// Before.
        before: SocketAddr,
        /// After.
        after: SocketAddr,
    },
    /// Destination address and port.
    Destination {
        /// Before.
        before: SocketAddr,
        /// After.
        after: SocketAddr,
    },
    /// Mark of the packet.
    Mark {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// Mark of the connection, by the model.
    ConnectionMark {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// conntrack zone the packet was put in, by the model.
    Zone {
        /// Number.
        zone: u16,
    },
}

/// Who saw a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The kernel's trace of the packet.
    Trace,
    /// The rule's counter moved.
    Counter,
    /// conntrack's entry.
    Conntrack,
    /// The connection log of a process.
    Log,
    /// The model, from the rules.
    Model,
}

impl Witness {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Counter => "counter",
            Self::Conntrack => "conntrack",
            Self::Log => "log",
            Self::Model => "model",
        }
    }
}

impl Changed {
    /// Whether nat gives the connection another source port, of its own choice and for no rule, or takes it back for the
    /// answer: what it called from, with the port, would make two connections one behind nat
    /// (`nf_nat_used_tuple` in net/netfilter/nf_nat_core.c).
    pub fn is_other_port(&self, source: &Source) -> bool {
        let (own, other) = match self {
            Self::Source { before, after } => (before, after),
            Self::Destination { before, after } => (after, before),
            Self::Mark { .. } | Self::ConnectionMark { .. } | Self::Zone { .. } => return false,
        };
        (own.ip(), Some(own.port())) == (source.address, source.port) && own.ip() == other.ip()
    }
}

impl Hop {
    /// A hop at a hook, not numbered yet, which nobody saw yet.
    pub(super) fn at(
        hook: Hook,
        input: Option<String>,
        output: Option<String>,
        event: Event,
    ) -> Self {
        Self {
            hook: Some(hook),
            input,
            output,
            ..Self::of(event)
        }
    }

    /// A hop of a process.
    pub(super) fn of(event: Event) -> Self {
        Self {
            number: 0,
            hook: None,
            input: None,
            output: None,
            event,
            tried: Vec::new(),
            changes: Vec::new(),
            witnesses: BTreeSet::new(),
            counted: None,
            notes: Vec::new(),
            contradictions: Vec::new(),
        }
    }

    /// Whether nothing but "it went on" happened here.
    pub fn is_silent(&self) -> bool {
        self.is_silent_but_for(|_| false)
    }

    /// The same, where some changes do not count.
    pub fn is_silent_but_for(&self, uncounted: impl Fn(&Changed) -> bool) -> bool {
        let idle = match &self.event {
            Event::Passed { .. } => true,
            Event::Policy { verdict, .. } => *verdict == Verdict::Accept,
            _ => false,
        };
        idle && self.changes.iter().all(uncounted) && self.contradictions.is_empty()
    }
}
