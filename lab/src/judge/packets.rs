//! One traced packet held against the way it is predicted to take: rules, hooks, addresses.

use std::net::{IpAddr, SocketAddr};

use crate::{
    model::{Journey, JourneyEnd, Outcome},
    predict::ANY_PORT,
    rules::{Alignment, Hook, RuleId, RuleSet, spec_text},
    traced::{Header, Station, Step, TracedPacket},
};

use super::pods::rule_name;

/// Source and destination; the port of a source is the kernel's choice.
type Ends = (IpAddr, SocketAddr);

/// The way a packet is predicted to take.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// Rules that match, in order.
    pub rules: Vec<(Hook, RuleId)>,
    /// Hooks it comes to, with source and destination as it comes there; none where the prediction does not say.
    pub hooks: Option<Vec<(Hook, Ends)>>,
    /// Source and destination in the end.
    pub left: Option<Ends>,
    /// What it is lost by.
    pub gone: Option<Outcome>,
}

/// What differs between prediction and trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Difference {
    /// The trace shows something else.
    Seen { wanted: String, had: String },
    /// The trace does not tell.
    Untold(String),
}

impl Way {
    /// Of a journey; none where the model can't tell it.
    pub fn of(journey: &Journey) -> Option<Self> {
        let gone = match &journey.end {
            JourneyEnd::Unknown(_) => return None,
            JourneyEnd::Gone(outcome) => Some(outcome.clone()),
            JourneyEnd::Delivered { .. } | JourneyEnd::Sent { .. } => None,
        };
        let passages = journey.passages.iter();
        let rules = passages.clone().flat_map(|passage| {
            let tables = passage.tables.iter();
            tables.flat_map(|(_, it)| it.moved().into_iter().map(|rule| (passage.hook, rule)))
        });
        let hooks = passages.map(|it| (it.hook, (it.came.src.ip(), it.came.dst)));
        let left = journey.passages.last();
        Some(Self {
            rules: rules.collect(),
            hooks: Some(hooks.collect()),
            left: left.map(|it| (it.left.src.ip(), it.left.dst)),
            gone,
        })
    }

    /// Through a pod without rules.
    pub fn without_rules() -> Self {
        Self {
            rules: Vec::new(),
            hooks: None,
            left: None,
            gone: None,
        }
    }

    /// Of an answer: with the ports of the opener, which a prediction can't know. nat gives a connection another source
    /// port (`behind`) where the one it has (`own`) would make two connections one, also where no rule translates anything.
    /// Answers come to the one; where nat turns destinations, which is their first hook, they are turned back to the other.
    pub fn sent_to_ports(mut self, own: Option<u16>, behind: Option<u16>) -> Self {
        let hooks = self.hooks.iter_mut().flatten().enumerate();
        let hooks = hooks.map(|(place, (_, (_, to)))| (to, if place == 0 { behind } else { own }));
        let left = self.left.iter_mut().map(|(_, to)| (to, own));
        // A port that the flow names stands there already.
        let of_opener = |to: &SocketAddr| to.port() == ANY_PORT || Some(to.port()) == own;
        for (to, port) in hooks.chain(left).filter(|(to, _)| of_opener(to)) {
            to.set_port(port.unwrap_or(to.port()));
        }
        self
    }

    /// Where the packet went another way.
    pub fn differs(&self, packet: &TracedPacket, names: &Names) -> Option<Difference> {
        let had = match rules_of(packet, names.applied) {
            Ok(had) => had,
            Err(why) => return Some(Difference::Untold(why)),
        };
        let had = had.into_iter().map(|(hook, rule)| (hook, names.of(rule)));
        let had: Vec<(Hook, Named)> = had.collect();
        let wanted = self.rules.iter().cloned();
        let wanted: Vec<_> = wanted
            .map(|(hook, rule)| (hook, Named::Told(rule)))
            .collect();
        if had != wanted {
            let same = wanted.iter().zip(&had).take_while(|(a, b)| a == b).count();
            return Some(Difference::Seen {
                wanted: names.path(wanted.iter().map(|(_, it)| it), Some(same)),
                had: names.path(had.iter().map(|(_, it)| it), Some(same)),
            });
        }
        let fate = self.fate(packet).or_else(|| self.addresses(packet));
        fate.or_else(|| source_turned(packet))
    }

    fn fate(&self, packet: &TracedPacket) -> Option<Difference> {
        let wanted = self.gone.as_ref().map(|it| it.to_string());
        let had = packet.dropped().map(|step| format!("dropped at {step}"));
        // Which rule drops is told by the rules; a policy is none, and REJECT drops with a word.
        (wanted.is_some() != had.is_some()).then(|| Difference::Seen {
            wanted: wanted.unwrap_or_else(|| "let through".into()),
            had: had.unwrap_or_else(|| "let through".into()),
        })
    }

    /// Up to nat's place at a hook the packet is as it comes there, behind it as it goes on.
    fn addresses(&self, packet: &TracedPacket) -> Option<Difference> {
        let Some(hooks) = &self.hooks else {
            return untouched(packet);
        };
        let mut ways = hooks.iter().map(|(hook, ends)| (*hook, *ends)).peekable();
        let mut here: Option<(Hook, Ends, Option<Ends>)> = None;
        for station in &packet.stations {
            let (hook, header) = (station.hook, &station.header);
            let had = (header.source, header.destination_end());
            if here.is_none_or(|(at, ..)| at != hook) {
                here = ways.next().map(|(hook, came)| {
                    let left = ways.peek().map(|(_, ends)| *ends).or(self.left);
                    (hook, came, left)
                });
            }
            let Some((wanted_hook, came, left)) = here else {
                let wanted = "the end of its way".to_owned();
                let had = at(hook, had);
                return Some(Difference::Seen { wanted, had });
            };
            let wanted = match is_before_nat(hook, station.priority) {
                true => came,
                false => left.unwrap_or(came),
            };
            if (wanted_hook, wanted) != (hook, had) {
                let (wanted, had) = (at(wanted_hook, wanted), at(hook, had));
                return Some(Difference::Seen { wanted, had });
            }
        }
        let (hook, ends) = ways.next().filter(|_| self.gone.is_none())?;
        let (wanted, had) = (at(hook, ends), "the end of its way".to_owned());
        Some(Difference::Seen { wanted, had })
    }
}

/// Whether a base chain sees the packet as it comes to the hook: nat stands at -100 where it turns the destination, at
/// 100 where it turns the source (`NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`), and its own chains are asked first.
fn is_before_nat(hook: Hook, priority: i32) -> bool {
    match hook {
        Hook::Prerouting | Hook::Output => priority <= -100,
        Hook::Input | Hook::Postrouting => priority <= 100,
        Hook::Forward => true,
    }
}

/// The ways through a machine: out, in, and both over lo; on to somewhere else.
const WAYS: [&[Hook]; 4] = [
    &[Hook::Output, Hook::Postrouting],
    &[Hook::Prerouting, Hook::Input],
    &[
        Hook::Output,
        Hook::Postrouting,
        Hook::Prerouting,
        Hook::Input,
    ],
    &[Hook::Prerouting, Hook::Forward, Hook::Postrouting],
];

/// Without rules a packet takes one of the ways there are, and leaves as it came.
fn untouched(packet: &TracedPacket) -> Option<Difference> {
    let hooks = packet.hooks();
    if !WAYS.contains(&&hooks[..]) {
        let words = |all: &[Hook]| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        return Some(Difference::Seen {
            wanted: WAYS.map(words).join(", or "),
            had: words(&hooks),
        });
    }
    let ends = |it: &Header| (it.source_end(), it.destination_end());
    let first = ends(packet.first());
    let mut rest = packet.stations.iter();
    let changed = rest.find(|it| ends(&it.header) != first)?;
    let words = |(from, to): (SocketAddr, SocketAddr)| format!("{} as {from} → {to}", changed.hook);
    Some(Difference::Seen {
        wanted: words(first),
        had: words(ends(&changed.header)),
    })
}

/// Which port a packet comes from is not predicted; but it stays, and is another one at nat's place only.
fn source_turned(packet: &TracedPacket) -> Option<Difference> {
    let turns = |it: &Station| matches!(it.hook, Hook::Input | Hook::Postrouting);
    let is_behind = |it: &Station| turns(it) && !is_before_nat(it.hook, it.priority);
    let is_ahead = |it: &Station| turns(it) && is_before_nat(it.hook, it.priority);
    let between = |a: &Station, b: &Station| match a.hook == b.hook {
        true => is_ahead(a) && is_behind(b),
        false => is_ahead(a) || is_behind(b),
    };
    let mut steps = packet.stations.windows(2);
    let odd = |pair: &&[Station]| {
        let (a, b) = (&pair[0], &pair[1]);
        a.header.source_end() != b.header.source_end() && !between(a, b)
    };
    let pair = steps.find(odd)?;
    let words = |it: &Station| format!("{} from {}", pair[1].hook, it.header.source_end());
    Some(Difference::Seen {
        wanted: words(&pair[0]),
        had: words(&pair[1]),
    })
}

/// Rules that matched, in order, by the names that the rules in the pod have.
///
/// # Errors
/// Why one of them can't be named.
pub(super) fn rules_of(
    packet: &TracedPacket,
    applied: &RuleSet,
) -> Result<Vec<(Hook, RuleId)>, String> {
    let matched = packet.stations.iter().flat_map(|station| {
        let steps = station.steps.iter();
        steps.filter_map(move |step| match step {
            Step::Rule { place, .. } => Some((station, place)),
            Step::End { .. } | Step::Policy { .. } => None,
        })
    });
    matched
        .map(|(station, place)| Ok((station.hook, station.rule_id(place, applied)?)))
        .collect()
}

fn at(hook: Hook, (source, destination): Ends) -> String {
    format!("{hook} as {source} → {destination}")
}

/// Which rules a way is told in. A trace names those in the pod.
pub(super) struct Names<'c> {
    /// The rules that the way names.
    pub told: &'c RuleSet,
    /// Pairs them with those in the pod; none where they are the same.
    pub alignment: Option<&'c Alignment>,
    /// The rules in the pod.
    pub applied: &'c RuleSet,
}

/// A rule that a packet met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// One of those the way is told in.
    Told(RuleId),
    /// One that is in the pod only.
    InPod(RuleId),
}

impl Names<'_> {
    /// The name of a rule in the pod.
    pub fn of(&self, applied: RuleId) -> Named {
        match self.alignment {
            None => Named::Told(applied),
            Some(pairs) => match pairs.reference(&applied) {
                Some(rule) => Named::Told(rule.clone()),
                None => Named::InPod(applied),
            },
        }
    }

    /// `PREROUTING 1 → ISTIO_INBOUND 5 → …`, with the text of the rule at one place.
    pub fn path<'n>(
        &self,
        rules: impl Iterator<Item = &'n Named>,
        with_text: Option<usize>,
    ) -> String {
        let words = rules.enumerate().map(|(n, name)| {
            let (rule, set, whose) = match name {
                Named::Told(rule) => (rule, self.told, ""),
                Named::InPod(rule) => (rule, self.applied, " of the pod's own"),
            };
            let text = set.rule(rule).filter(|_| Some(n) == with_text);
            let text = text.map(|it| format!(" `{}`", spec_text(&rule.chain, &it.spec)));
            format!("{}{whose}{}", rule_name(rule), text.unwrap_or_default())
        });
        let words: Vec<String> = words.collect();
        match words.len() {
            0 => "no rule".to_owned(),
            length if with_text.is_some_and(|at| at >= length) => {
                format!("{} and no more", words.join(" → "))
            }
            _ => words.join(" → "),
        }
    }
}
