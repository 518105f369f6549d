//! One rule as a value: [`RuleSpec`], the conditions of [`Matches`] and the target, in canonical form.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::address_kind::{AddressKind, End};
use super::id::Family;
use super::marks::MarkValue;
use super::target::Target;
use super::tcp_flags::TcpFlagTest;
use super::values::{CtState, Interface, Negatable, OwnerId, PortRange, Protocol};

/// What a rule says, without its place or counters. Equal values mean the same rule, however it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleSpec {
    /// The conditions; all must hold.
    pub matches: Matches,
    /// What happens then.
    pub target: Target,
}

impl RuleSpec {
    /// Whether every word of the rule is understood. A rule that is not can be rendered and compared, not evaluated.
    pub fn is_modelled(&self) -> bool {
        self.matches.is_modelled() && self.target.is_modelled()
    }
}

/// The conditions of a rule. An absent one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Matches {
    /// `-p`
    pub protocol: Option<Negatable<Protocol>>,
    /// `-s`, with the host bits masked off as the kernel does.
    pub source: Option<Negatable<IpNet>>,
    /// `-d`, with the host bits masked off as the kernel does.
    pub destination: Option<Negatable<IpNet>>,
    /// `-i`
    pub in_interface: Option<Negatable<Interface>>,
    /// `-o`
    pub out_interface: Option<Negatable<Interface>>,
    extensions: Vec<Match>,
}

impl Matches {
    /// The conditions of match extensions, in canonical order.
    pub fn extensions(&self) -> &[Match] {
        &self.extensions
    }

    /// Adds a condition, and puts the list back into canonical order.
    ///
    /// Conditions without state commute, so they are sorted. A match that is not modelled may have state (`limit`,
    /// `recent`, `statistic`): nothing moves across it.
    pub fn add(&mut self, condition: Match) {
        self.extensions.push(condition);
        for run in self.extensions.split_mut(Match::is_whole_match) {
            run.sort_by(|a, b| (a.rank(), a).cmp(&(b.rank(), b)));
        }
    }

    /// Appends words to the last match of this name that is kept verbatim as a whole; says whether there is one.
    pub(super) fn extend_verbatim(
        &mut self,
        module: Option<&str>,
        more: impl Iterator<Item = String>,
    ) -> bool {
        let mut whole = self
            .extensions
            .iter_mut()
            .rev()
            .filter(|it| it.is_whole_match());
        match whole.find(|it| it.module() == module) {
            Some(Match::Verbatim { words, .. }) => {
                words.extend(more);
                true
            }
            _ => false,
        }
    }

    /// Whether every condition is understood.
    pub fn is_modelled(&self) -> bool {
        self.extensions
            .iter()
            .all(|it| !matches!(it, Match::Verbatim { .. }))
    }

    /// Whether the rule is for packets of the other family, so that it never matches one of this.
    pub fn is_of_other_family(&self) -> bool {
        self.extensions
            .iter()
            .any(|it| matches!(it, Match::OtherFamily { .. }))
    }

    /// The condition this rule puts on the protocol when it is one protocol.
    pub fn only_protocol(&self) -> Option<Protocol> {
        let protocol = self.protocol.as_ref()?;
        (!protocol.negated).then_some(protocol.value)
    }

    /// Whether the rule matches every packet of `protocol` (`None`: every packet at all).
    pub fn is_catch_all(&self, protocol: Option<Protocol>) -> bool {
        let addresses = self.source.is_none() && self.destination.is_none();
        let interfaces = self.in_interface.is_none() && self.out_interface.is_none();
        let quiet = self
            .extensions
            .iter()
            .all(|it| matches!(it, Match::Comment(_)));
        let this = match &self.protocol {
            None => true,
            Some(_) => protocol.is_some() && self.only_protocol() == protocol,
        };
        addresses && interfaces && quiet && this
    }
}

/// One condition of a match extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// `--sport` of tcp or udp; which one, `-p` says.
    SourcePort(Negatable<PortRange>),
    /// `--dport` of tcp or udp; which one, `-p` says.
    DestinationPort(Negatable<PortRange>),
    /// `-m multiport`: one of a list of ports, at one end or (`None`) at either.
    Ports {
        /// `--sports` or `--dports`; `None` for `--ports`.
        end: Option<End>,
        /// The ports.
        ports: Negatable<BTreeSet<PortRange>>,
    },
    /// `--tcp-flags`, and `--syn` for one of its values.
    TcpFlags(Negatable<TcpFlagTest>),
    /// `-m owner --uid-owner`
    OwnerUid(Negatable<OwnerId>),
    /// `-m owner --gid-owner`
    OwnerGid(Negatable<OwnerId>),
    /// `-m owner --socket-exists`; the value is what is asked for, `false` after a `!`.
    SocketExists(bool),
    /// `-m conntrack --ctstate`, and `-m state --state`, its older name.
    CtState(Negatable<BTreeSet<CtState>>),
    /// `-m mark --mark`
    Mark(Negatable<MarkValue>),
    /// `-m connmark --mark`
    ConnMark(Negatable<MarkValue>),
    /// `-m addrtype --src-type` or `--dst-type`.
    AddressKind {
        /// Which address.
        end: End,
        /// The kinds it may have.
        kinds: Negatable<BTreeSet<AddressKind>>,
    },
    /// `-m comment --comment`: always true.
    Comment(String),
    /// Of a rule that nft has for both families: it asks for the one that these rules are not of. Never true.
    OtherFamily {
        /// The family it asks for.
        family: Family,
        /// How nft says it: `ip daddr != 127.0.0.1/32`.
        words: String,
    },
    /// Options that are not modelled, word for word.
    Verbatim {
        /// The match extension; `None` for an option of iptables itself, such as `-f`.
        module: Option<String>,
        /// The options with their negations and values, as a rule file spells them: quoted where needed.
        words: Vec<String>,
    },
}

/// Match extensions whose modelled and other options are all without state.
pub(super) const STATELESS: [&str; 10] = [
    "tcp",
    "udp",
    "multiport",
    "owner",
    "conntrack",
    "state",
    "mark",
    "connmark",
    "addrtype",
    "comment",
];

impl Match {
    /// The match extension the condition belongs to; `protocol` stands for the one `-p` names.
    pub fn module(&self) -> Option<&str> {
        match self {
            Self::SourcePort(_) | Self::DestinationPort(_) | Self::TcpFlags(_) => Some("protocol"),
            Self::Ports { .. } => Some("multiport"),
            Self::OwnerUid(_) | Self::OwnerGid(_) | Self::SocketExists(_) => Some("owner"),
            Self::CtState(_) => Some("conntrack"),
            Self::Mark(_) => Some("mark"),
            Self::ConnMark(_) => Some("connmark"),
            Self::AddressKind { .. } => Some("addrtype"),
            Self::Comment(_) => Some("comment"),
            Self::OtherFamily { .. } => Some("nft"),
            Self::Verbatim { module, .. } => module.as_deref(),
        }
    }

    /// Whether a whole match extension is kept verbatim, rather than one option of a modelled match.
    pub(super) fn is_whole_match(&self) -> bool {
        matches!(self, Self::Verbatim { module: Some(module), .. } if !STATELESS.contains(&module.as_str()))
    }

    fn rank(&self) -> u8 {
        match self.module() {
            _ if matches!(self, Self::OtherFamily { .. }) => 0,
            None => 0,
            Some("protocol" | "tcp" | "udp") => 1,
            Some("multiport") => 2,
            Some("owner") => 3,
            Some("conntrack" | "state") => 4,
            Some("mark") => 5,
            Some("connmark") => 6,
            Some("addrtype") => 7,
            Some(_) => 8,
        }
    }
}
