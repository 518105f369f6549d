//! One traced packet held against the way it is predicted to take: rules, hooks, addresses.

use std::net::{IpAddr, SocketAddr};

use crate::{
    model::{Journey, JourneyEnd, Outcome},
    rules::{Hook, RuleId, RuleSet, spec_text},
    traced::{Header, Ordinal, RulePlace, TracedPacket},
};

use super::pods::rule_name;

/// The way a packet is predicted to take.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// Rules that match, in order.
    pub rules: Vec<(Hook, RuleId)>,
    /// Hooks it comes to, with source and destination as it comes there; none where the prediction does not say.
    pub hooks: Option<Vec<(Hook, IpAddr, SocketAddr)>>,
    /// Source and destination in the end.
    pub left: Option<(IpAddr, SocketAddr)>,
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
        let hooks = passages.map(|it| (it.hook, it.came.src.ip(), it.came.dst));
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

    /// Under the rules in the pod, where `find` tells which of them a rule is; a rule that has no counterpart stays.
    pub fn renamed<'r>(mut self, find: impl Fn(&RuleId) -> Option<&'r RuleId>) -> Self {
        for (_, rule) in &mut self.rules {
            if let Some(found) = find(rule) {
                *rule = found.clone();
            }
        }
        self
    }

    /// Where the packet went another way; `applied` are the rules in the pod.
    pub fn differs(&self, packet: &TracedPacket, applied: &RuleSet) -> Option<Difference> {
        let had = match rules_of(packet) {
            Ok(had) => had,
            Err(why) => return Some(Difference::Untold(why)),
        };
        if had != self.rules {
            let at = self.rules.iter().zip(&had).take_while(|(a, b)| a == b);
            let at = at.count();
            return Some(Difference::Seen {
                wanted: path(&self.rules, at, applied),
                had: path(&had, at, applied),
            });
        }
        self.fate(packet).or_else(|| self.addresses(packet))
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

    fn addresses(&self, packet: &TracedPacket) -> Option<Difference> {
        let hooks = self.hooks.as_ref()?;
        let mut seen: Vec<(Hook, &Header)> = Vec::new();
        for station in &packet.stations {
            if seen.last().is_none_or(|(hook, _)| *hook != station.hook) {
                seen.push((station.hook, &station.header));
            }
        }
        let mut had = seen
            .iter()
            .map(|(hook, it)| at(*hook, it.source, it.destination_end()));
        for (hook, source, destination) in hooks {
            let wanted = at(*hook, *source, *destination);
            let had = had.next().unwrap_or_else(|| "nothing".into());
            if wanted != had {
                return Some(Difference::Seen { wanted, had });
            }
        }
        if let Some(had) = had.next() {
            let wanted = "the end of its way".to_owned();
            return Some(Difference::Seen { wanted, had });
        }
        let (source, destination) = self.left.filter(|_| self.gone.is_none())?;
        let last = packet.last();
        let wanted = format!("in the end {source} → {destination}");
        let had = format!("in the end {} → {}", last.source, last.destination_end());
        (wanted != had).then_some(Difference::Seen { wanted, had })
    }
}

/// Rules that matched, in order.
///
/// # Errors
/// Why one of them can't be named.
pub(super) fn rules_of(packet: &TracedPacket) -> Result<Vec<(Hook, RuleId)>, String> {
    let named = |place: &RulePlace| match (place.rule_id(), &place.ordinal) {
        (Some(rule), _) => Ok(rule),
        (None, Ordinal::Unknown(why)) => {
            Err(format!("the place of a rule of {}: {why}", place.chain))
        }
        (None, Ordinal::Known(_)) => Err(format!("a name for {place}")),
    };
    let rules = packet.rules();
    rules
        .map(|(hook, place, _)| Ok((hook, named(place)?)))
        .collect()
}

/// `nat PREROUTING 1 → ISTIO_INBOUND 5 → …`, with the text of the rule at one place.
fn path(rules: &[(Hook, RuleId)], told: usize, applied: &RuleSet) -> String {
    let words = rules.iter().enumerate().map(|(n, (_, rule))| {
        let text = applied.rule(rule).filter(|_| n == told);
        match text {
            Some(it) => format!("{} `{}`", rule_name(rule), spec_text(&rule.chain, &it.spec)),
            None => rule_name(rule),
        }
    });
    let words: Vec<String> = words.collect();
    match (words.is_empty(), told >= words.len()) {
        (true, _) => "no rule".to_owned(),
        (false, true) => format!("{} and no more", words.join(" → ")),
        (false, false) => words.join(" → "),
    }
}

fn at(hook: Hook, source: IpAddr, destination: SocketAddr) -> String {
    format!("{hook} as {source} → {destination}")
}
