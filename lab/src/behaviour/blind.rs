//! What flows do not vary, and so can't tell apart: other protocols, rare states.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::subject::Subject;
use crate::rules::{CtState, Match, Matches, RuleId, RuleSpec, Table, spec_text};

/// States that packets of flows have: the first of a connection, those after it, and strays.
const VARIED: [CtState; 3] = [CtState::New, CtState::Established, CtState::Invalid];

/// A rule of one set alone that asks for something no flow varies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlindSpot {
    /// The set.
    pub set: String,
    /// The rule.
    pub rule: RuleId,
    /// As `iptables-save` prints it.
    pub text: String,
    /// What it asks for, in words.
    pub asks: String,
}

impl fmt::Display for BlindSpot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            set,
            rule,
            text,
            asks,
        } = self;
        write!(f, "{} {rule} of {set} asks for {asks}: {text}", rule.family)
    }
}

/// Rules that ask for what no flow varies, and that only one of the two has.
pub fn blind_spots(a: &Subject, b: &Subject) -> Vec<BlindSpot> {
    let mut spots = Vec::new();
    for (one, other) in [(a, b), (b, a)] {
        let theirs: BTreeSet<(Table, String)> =
            rules(other).map(|(id, spec)| said(&id, spec)).collect();
        for (rule, spec) in rules(one) {
            let Some(asks) = not_varied(&spec.matches) else {
                continue;
            };
            if !theirs.contains(&said(&rule, spec)) {
                spots.push(BlindSpot {
                    set: one.name.clone(),
                    text: spec_text(&rule.chain, spec),
                    rule,
                    asks: asks.to_owned(),
                });
            }
        }
    }
    spots
}

fn rules(subject: &Subject) -> impl Iterator<Item = (RuleId, &RuleSpec)> {
    let sets = subject.sets();
    sets.flat_map(|set| {
        let all = set.tables.keys().flat_map(|table| set.rules(*table));
        all.map(|(id, rule)| (id, &rule.spec))
    })
}

/// What a rule says, whatever its chain is called and wherever it leads.
fn said(id: &RuleId, spec: &RuleSpec) -> (Table, String) {
    let target = match spec.target.chain() {
        Some(_) => "another chain".to_owned(),
        None => format!("{:?}", spec.target),
    };
    (
        id.table,
        format!("{} {:?} {target}", id.family, spec.matches),
    )
}

/// What of the conditions no flow varies.
fn not_varied(matches: &Matches) -> Option<&'static str> {
    let protocol = matches.protocol.as_ref();
    if protocol.is_some_and(|it| !matches!(it.value.number(), 6 | 17)) {
        return Some("another protocol than TCP and UDP");
    }
    matches.extensions().iter().find_map(|it| match it {
        Match::CtState(it) if it.value.iter().any(|it| !VARIED.contains(it)) => {
            Some("a state of connections that no flow has")
        }
        Match::TcpFlags(_) => Some("TCP flags, and flows are their first packets"),
        Match::AddressKind { .. } => Some("a kind of address"),
        Match::Verbatim { .. } => Some("what is not modelled"),
        _ => None,
    })
}
