//! What kind of flow the connections are that leave at a rule.

use std::net::IpAddr;

use super::exit::{Effect, Exit, Leaf};
use crate::rules::Hook;
use crate::rules::{Match, Negatable, OwnerId, Protocol, RuleSpec, spec_text};

/// A kind of flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Came in and was turned to the proxy.
    InboundCaptured,
    /// Came in, and a rule lets it past the proxy: probes, excluded ports.
    InboundLeftAlone,
    /// A process's connection that was turned to the proxy.
    OutboundCaptured,
    /// A process's connection that a rule lets past the proxy.
    OutboundLeftAlone,
    /// The proxy to the app it stands before.
    ProxyToApp,
    /// The proxy to its own pod's address, turned back to it.
    ProxyToItself,
    /// The proxy to another machine.
    ProxyOut,
    /// Within the pod, past the proxy.
    Local,
    /// To a name server.
    Dns,
    /// Sent to another destination.
    Elsewhere,
    /// Gone.
    Dropped,
    /// Met no rule that decides: another protocol, or a destination nothing names.
    PastTheRules,
    /// Cannot be told from these rules.
    Untold,
}

impl Kind {
    /// Every kind, in the order of a report.
    pub const ALL: [Self; 13] = [
        Self::InboundCaptured,
        Self::InboundLeftAlone,
        Self::OutboundCaptured,
        Self::OutboundLeftAlone,
        Self::ProxyToApp,
        Self::ProxyToItself,
        Self::ProxyOut,
        Self::Local,
        Self::Dns,
        Self::Elsewhere,
        Self::Dropped,
        Self::PastTheRules,
        Self::Untold,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::InboundCaptured => "inbound-captured",
            Self::InboundLeftAlone => "inbound-left-alone",
            Self::OutboundCaptured => "outbound-captured",
            Self::OutboundLeftAlone => "outbound-left-alone",
            Self::ProxyToApp => "proxy-to-app",
            Self::ProxyToItself => "proxy-to-itself",
            Self::ProxyOut => "proxy-out",
            Self::Local => "local",
            Self::Dns => "dns",
            Self::Elsewhere => "elsewhere",
            Self::Dropped => "dropped",
            Self::PastTheRules => "past-the-rules",
            Self::Untold => "untold",
        }
    }

    /// What it means, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::InboundCaptured => "inbound, turned to the proxy",
            Self::InboundLeftAlone => "inbound, left alone (probes, excluded ports)",
            Self::OutboundCaptured => "outbound, turned to the proxy",
            Self::OutboundLeftAlone => "outbound, left alone (excluded)",
            Self::ProxyToApp => "the proxy's own, to the app it stands before",
            Self::ProxyToItself => "the proxy's own, to its own pod, turned back to it",
            Self::ProxyOut => "the proxy's own, to others",
            Self::Local => "local, within the pod",
            Self::Dns => "DNS",
            Self::Elsewhere => "sent to another destination",
            Self::Dropped => "dropped",
            Self::PastTheRules => "past the rules (another protocol, or nothing names it)",
            Self::Untold => "of a kind these rules do not tell",
        }
    }
}

/// The exit a leaf is. The others tell who the proxy is, and which port captures outbound connections.
pub(super) fn exit(leaf: &Leaf<'_>, all: &[Leaf<'_>]) -> Exit {
    Exit {
        hook: leaf.hook,
        rule: Some(leaf.id.clone()),
        effect: leaf.effect,
        kind: kind(leaf, all),
        which: which(leaf),
        packets: leaf.packets,
    }
}

/// The conditions on the way, as rules spell them.
fn which(leaf: &Leaf<'_>) -> String {
    let conditions = leaf.way.iter().filter_map(|spec| {
        let bare = RuleSpec {
            matches: spec.matches.clone(),
            target: crate::rules::Target::None,
        };
        let text = spec_text("x", &bare);
        text.strip_prefix("-A x ").map(str::to_owned)
    });
    let mut distinct: Vec<String> = Vec::new();
    for condition in conditions.filter(|it| it != "-p tcp") {
        if !distinct.contains(&condition) {
            distinct.push(condition);
        }
    }
    let words = distinct.join(", ");
    let words = words.replace("-p tcp -m tcp ", "").replace("-m owner ", "");
    if words.is_empty() {
        "everything else".to_owned()
    } else {
        words
    }
}

fn kind(leaf: &Leaf<'_>, all: &[Leaf<'_>]) -> Kind {
    match (leaf.hook, leaf.effect) {
        (_, Effect::Untold) => Kind::Untold,
        (_, Effect::Gone) => Kind::Dropped,
        (_, Effect::Elsewhere) => Kind::Elsewhere,
        (Hook::Prerouting, Effect::Turned(ports)) => {
            // A virtual machine behind an interface sends by PREROUTING, to the port that captures OUTPUT.
            let by_interface = leaf.way.iter().any(|it| it.matches.in_interface.is_some());
            let sends = |it: &Leaf<'_>| {
                it.hook == Hook::Output && it.effect == Effect::Turned(ports) && !of_an_owner(it)
            };
            match by_interface && all.iter().any(sends) {
                true => Kind::OutboundCaptured,
                false => Kind::InboundCaptured,
            }
        }
        (Hook::Prerouting, Effect::Passes) => Kind::InboundLeftAlone,
        (Hook::Output, Effect::Turned(_)) if is_dns(leaf) => Kind::Dns,
        (Hook::Output, Effect::Turned(_)) if is_proxys_self_call(leaf) => Kind::ProxyToItself,
        (Hook::Output, Effect::Turned(_)) => Kind::OutboundCaptured,
        (Hook::Output, Effect::Passes) => passes(leaf, all),
        _ => Kind::Untold,
    }
}

fn passes(leaf: &Leaf<'_>, all: &[Leaf<'_>]) -> Kind {
    let source = |spec: &&RuleSpec| {
        let from = spec.matches.source.as_ref().filter(|it| !it.negated);
        from.is_some_and(|it| is_of_the_proxy(it.value.network()))
    };
    if leaf.way.iter().any(source) {
        return Kind::ProxyToApp;
    }
    let mut owners = owners(leaf).peekable();
    if owners.peek().is_some() {
        return match owners.any(|owner| is_proxy(owner, all)) {
            true => Kind::ProxyOut,
            false => Kind::OutboundLeftAlone,
        };
    }
    if is_dns(leaf) {
        return Kind::Dns;
    }
    let to_loopback = leaf.way.iter().any(|spec| {
        let to = spec.matches.destination.as_ref().filter(|it| !it.negated);
        to.is_some_and(|it| it.value.network().is_loopback())
    });
    match to_loopback || leaves_by_lo(leaf) {
        true => Kind::Local,
        false => Kind::OutboundLeftAlone,
    }
}

/// The sources Istio's proxy binds its calls to the app to: 127.0.0.6 and `::6`.
fn is_of_the_proxy(address: IpAddr) -> bool {
    [
        IpAddr::from([127, 0, 0, 6]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 6]),
    ]
    .contains(&address)
}

fn leaves_by_lo(leaf: &Leaf<'_>) -> bool {
    leaf.way.iter().any(|spec| {
        let out = spec.matches.out_interface.as_ref();
        out.is_some_and(|it| !it.negated && it.value.as_str() == "lo")
    })
}

/// The owners the way asks for.
fn owners<'a>(leaf: &'a Leaf<'_>) -> impl Iterator<Item = (bool, &'a OwnerId)> {
    let conditions = leaf.way.iter().flat_map(|it| it.matches.extensions());
    conditions.filter_map(|it| match it {
        Match::OwnerUid(Negatable {
            negated: false,
            value,
        }) => Some((true, value)),
        Match::OwnerGid(Negatable {
            negated: false,
            value,
        }) => Some((false, value)),
        _ => None,
    })
}

fn of_an_owner(leaf: &Leaf<'_>) -> bool {
    owners(leaf).next().is_some()
}

fn is_proxys_self_call(leaf: &Leaf<'_>) -> bool {
    leaves_by_lo(leaf) && of_an_owner(leaf)
}

/// Whether an owner is the proxy: its calls by lo are turned back to it. Where no rule does that, every owner whose
/// connections are let past is taken for one.
fn is_proxy(owner: (bool, &OwnerId), all: &[Leaf<'_>]) -> bool {
    let turned = |it: &&Leaf<'_>| matches!(it.effect, Effect::Turned(_)) && is_proxys_self_call(it);
    let mut self_calls = all.iter().filter(turned).peekable();
    self_calls.peek().is_none() || self_calls.any(|it| owners(it).any(|other| other == owner))
}

fn is_dns(leaf: &Leaf<'_>) -> bool {
    leaf.way.iter().any(|spec| {
        let conditions = spec.matches.extensions().iter();
        let mut ports = conditions.filter_map(|it| match it {
            Match::DestinationPort(it) if !it.negated => Some(it.value),
            _ => None,
        });
        let protocol = spec.matches.only_protocol();
        let carries = protocol.is_none_or(|it| matches!(it, Protocol::Tcp | Protocol::Udp));
        carries && ports.any(|it| (it.first(), it.last()) == (53, 53))
    })
}
