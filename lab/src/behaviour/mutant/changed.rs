//! One word of a rule changed: a condition turned around, left out or asking for what lies beside; another target.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Said;
use crate::rules::{
    Interface, MarkValue, Match, Matches, Negatable, OwnerId, PortRange, Rule, RuleSpec, Target,
};

/// The chain with one word of the rule changed, and what became of the rule in the words of `said`.
pub(super) fn changed(rules: &[Rule], at: usize, said: &Said<'_>) -> Vec<(String, Vec<Rule>)> {
    let spec = &rules[at].spec;
    let specs = conditions(&spec.matches, said.native)
        .into_iter()
        .map(|matches| RuleSpec {
            matches,
            target: spec.target.clone(),
        });
    let targets = targets(&spec.target).into_iter().map(|target| RuleSpec {
        matches: spec.matches.clone(),
        target,
    });
    let made = specs.chain(targets).map(|other| {
        let (was, is) = (said.rule(spec), said.rule(&other));
        let mut rules = rules.to_vec();
        rules[at] = Rule::new(other);
        (format!("`{was}` became `{is}`"), rules)
    });
    made.collect()
}

fn targets(target: &Target) -> Vec<Target> {
    match target {
        Target::Return => vec![Target::Accept, Target::None],
        Target::Accept => vec![Target::Return, Target::Drop],
        Target::Drop => vec![Target::Accept],
        Target::Jump(_) | Target::Goto(_) => vec![Target::Return, Target::None],
        Target::Redirect { ports } => {
            let mut others = vec![Target::Return];
            let next = ports.and_then(|it| PortRange::new(it.first() + 1, it.last() + 1));
            others.extend(next.map(|it| Target::Redirect { ports: Some(it) }));
            others
        }
        Target::Tproxy {
            port,
            address,
            mark,
        } => vec![
            Target::Return,
            Target::Tproxy {
                port: port + 1,
                address: *address,
                mark: *mark,
            },
        ],
        Target::Mark(_) | Target::Connmark(_) | Target::Zone { .. } => {
            vec![Target::None, Target::Return]
        }
        _ => Vec::new(),
    }
}

/// The conditions with one of them changed: turned around, left out, or asking for something beside.
///
/// nft asks for a socket wherever it asks for an owner, and has no other word for it.
fn conditions(matches: &Matches, native: bool) -> Vec<Matches> {
    let mut made = Vec::new();
    macro_rules! field {
        ($field:ident, $beside:expr) => {
            if let Some(condition) = &matches.$field {
                let mut with = |other: Option<_>| {
                    let mut changed = matches.clone();
                    changed.$field = other;
                    made.push(changed);
                };
                with(None);
                with(Some(turned(condition)));
                for value in $beside(&condition.value) {
                    with(Some(Negatable {
                        value,
                        ..condition.clone()
                    }));
                }
            }
        };
    }
    // Without `-p` no port can be asked for; iptables refuses that, and so is no mistake that lasts.
    if matches.extensions().iter().all(|it| {
        matches!(
            it.module(),
            Some("owner" | "mark" | "connmark" | "conntrack" | "comment")
        )
    }) {
        field!(protocol, |_: &crate::rules::Protocol| Vec::new());
    }
    field!(source, networks);
    field!(destination, networks);
    field!(in_interface, interfaces);
    field!(out_interface, interfaces);
    for (at, condition) in matches.extensions().iter().enumerate() {
        let rebuilt = |other: Option<Match>| {
            let mut changed = Matches::default();
            changed.protocol.clone_from(&matches.protocol);
            changed.source.clone_from(&matches.source);
            changed.destination.clone_from(&matches.destination);
            changed.in_interface.clone_from(&matches.in_interface);
            changed.out_interface.clone_from(&matches.out_interface);
            let others = matches.extensions().iter().enumerate();
            let others = others.filter(|(place, _)| *place != at);
            let kept: Vec<Match> = others.map(|(_, it)| it.clone()).chain(other).collect();
            let owned = kept
                .iter()
                .any(|it| matches!(it, Match::OwnerUid(_) | Match::OwnerGid(_)));
            let implied = |it: &Match| native && !owned && matches!(it, Match::SocketExists(_));
            let kept = kept.into_iter().filter(|it| !implied(it));
            kept.for_each(|it| changed.add(it));
            changed
        };
        if !matches!(
            condition,
            Match::Comment(_) | Match::Verbatim { .. } | Match::OtherFamily { .. }
        ) {
            made.push(rebuilt(None));
        }
        made.extend(
            extensions(condition)
                .into_iter()
                .map(|it| rebuilt(Some(it))),
        );
    }
    made
}

fn turned<T: Clone>(condition: &Negatable<T>) -> Negatable<T> {
    Negatable {
        negated: !condition.negated,
        value: condition.value.clone(),
    }
}

fn extensions(condition: &Match) -> Vec<Match> {
    fn of<T: Clone>(
        it: &Negatable<T>,
        beside: Vec<T>,
        made: impl Fn(Negatable<T>) -> Match,
    ) -> Vec<Match> {
        let values = beside.into_iter().map(|value| Negatable {
            negated: it.negated,
            value,
        });
        std::iter::once(turned(it))
            .chain(values)
            .map(made)
            .collect()
    }
    match condition {
        Match::SourcePort(it) => of(it, ports(&it.value), Match::SourcePort),
        Match::DestinationPort(it) => of(it, ports(&it.value), Match::DestinationPort),
        Match::Ports { end, ports: it } => of(it, lists(&it.value), |ports| Match::Ports {
            end: *end,
            ports,
        }),
        Match::OwnerUid(it) => of(it, ids(&it.value), Match::OwnerUid),
        Match::OwnerGid(it) => of(it, ids(&it.value), Match::OwnerGid),
        Match::Mark(it) => of(it, marks(it.value), Match::Mark),
        Match::ConnMark(it) => of(it, marks(it.value), Match::ConnMark),
        Match::CtState(it) => of(it, Vec::new(), Match::CtState),
        Match::SocketExists(it) => vec![Match::SocketExists(!it)],
        _ => Vec::new(),
    }
}

/// Ranges whose ends lie one beside.
fn ports(range: &PortRange) -> Vec<PortRange> {
    let (first, last) = (range.first(), range.last());
    let moved = |by: i16| Some((first.checked_add_signed(by)?, last.checked_add_signed(by)?));
    let mut made: Vec<_> = [1, -1].into_iter().filter_map(moved).collect();
    if first != last {
        made.extend([(first + 1, last), (first, last - 1)]);
    }
    made.into_iter()
        .filter_map(|(first, last)| PortRange::new(first, last))
        .collect()
}

/// Lists with one of their ports left out, and with one beside.
fn lists(list: &BTreeSet<PortRange>) -> Vec<BTreeSet<PortRange>> {
    let mut made = Vec::new();
    for range in list {
        let mut without = list.clone();
        without.remove(range);
        for other in ports(range) {
            let mut beside = without.clone();
            beside.insert(other);
            made.push(beside);
        }
        if !without.is_empty() {
            made.push(without);
        }
    }
    made
}

fn ids(owner: &OwnerId) -> Vec<OwnerId> {
    match owner {
        OwnerId::Range { first, last } => vec![OwnerId::Range {
            first: first + 1,
            last: last + 1,
        }],
        OwnerId::Name(_) => Vec::new(),
    }
}

fn marks(mark: MarkValue) -> Vec<MarkValue> {
    let value = (mark.value ^ 1) & mark.mask;
    vec![MarkValue { value, ..mark }]
}

/// The network next to it, and one twice as large.
fn networks(network: &IpNet) -> Vec<IpNet> {
    let wider = network.supernet();
    let next = wider.and_then(|it| {
        let mut halves = it.subnets(network.prefix_len()).ok()?;
        halves.find(|half| half != network)
    });
    wider.into_iter().map(|it| it.trunc()).chain(next).collect()
}

fn interfaces(interface: &Interface) -> Vec<Interface> {
    let other = match interface.as_str() {
        "lo" => super::super::stage::INTERFACE,
        _ => "lo",
    };
    Interface::new(other).into_iter().collect()
}
