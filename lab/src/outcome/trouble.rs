//! Why a flow did not come out as expected: the claim that fails, and the first hop that is not the one that was meant.

use std::collections::BTreeMap;

use serde::Serialize;

use super::nearest::{decided, nearest};
use crate::{
    judge::{Check, Claim, Finding, FlowVerdict, Verdict},
    path::{Event, Hop, Leg},
    report::hop_words,
    rules::RuleSet,
    traced,
};

/// What is known of the reason why a flow did not come out as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The first claim about the flow that fails.
    pub claim: String,
    /// What it says.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// Who saw it; none where the verdict itself is the surprise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// The first hop that is not the one the rules mean; where all are, the end of the first connection, which is not what
    /// was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<HopAt>,
    /// The rule that explains it best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<NearestRule>,
}

/// A hop where the way parts from the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopAt {
    /// Its number in the way of the flow, as `hoplab explain` counts; none where there is no hop at all.
    pub number: Option<u32>,
    /// Pod, or `node`.
    pub pod: String,
    /// What was meant.
    pub expected: String,
    /// What happened.
    pub observed: String,
}

/// The rule that explains a difference best.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearestRule {
    /// Table, chain, and the place in it where that is known: `nat ISTIO_INBOUND 5`.
    pub rule: String,
    /// What it says.
    pub text: String,
    /// What it has to do with the difference.
    pub why: String,
}

/// The ways of a flow: as meant, as seen, and the rules that the pods held.
pub(super) struct Ways<'a> {
    pub meant: &'a [Leg],
    pub seen: &'a [Leg],
    pub held: &'a BTreeMap<String, RuleSet>,
}

/// What is known about a flow whose verdict is not the wanted one.
pub(super) fn trouble(verdict: &FlowVerdict, wanted: Verdict, ways: Option<&Ways<'_>>) -> Trouble {
    let parting = ways.and_then(|it| parting(it.meant, it.seen));
    let surprise = || Trouble {
        claim: format!("the verdict on {} is {wanted}", verdict.flow),
        expected: wanted.to_string(),
        observed: verdict.verdict.to_string(),
        witness: None,
        hop: None,
        rule: None,
    };
    let first = match wanted {
        Verdict::Holds => first_failing(&verdict.claims),
        // A flow that was to be refuted has no claim that fails.
        _ => None,
    };
    // The rules do what was seen, and the file expects something else: then it is decided where the way ends.
    let as_ruled = ways.filter(|_| first.is_some() && parting.is_none());
    let mut trouble = first.map_or_else(surprise, |(claim, check)| of_check(claim, check));
    trouble.rule = ways.and_then(|it| nearest(it, parting.as_ref()));
    trouble.hop = parting.map(|it| it.hop());
    if let Some(ways) = as_ruled {
        trouble.rule = decided(ways.seen);
        trouble.hop = ways.seen.first().and_then(|leg| {
            let (pod, hop) = steps(leg).last().copied()?;
            Some(HopAt {
                number: Some(hop.number).filter(|it| *it > 0),
                pod: pod.to_owned(),
                expected: trouble.expected.clone(),
                observed: line(leg, hop),
            })
        });
    }
    trouble
}

/// A contradiction before a witness that is missing; claims are in the order of the way.
fn first_failing(claims: &[Claim]) -> Option<(&Claim, Option<&Check>)> {
    let checks = || {
        claims
            .iter()
            .flat_map(|it| it.checks.iter().map(move |check| (it, check)))
    };
    let is = |wanted: fn(&Finding) -> bool| checks().find(|(_, check)| wanted(&check.finding));
    let contradiction =
        is(|it| matches!(it, Finding::Contradicts { .. } | Finding::Disagrees { .. }));
    let missing = || is(|it| matches!(it, Finding::Missing { .. }));
    let found = contradiction.or_else(missing);
    let lonely = || claims.iter().find(|it| it.verdict() != Verdict::Holds);
    found
        .map(|(claim, check)| (claim, Some(check)))
        .or_else(|| lonely().map(|claim| (claim, None)))
}

fn of_check(claim: &Claim, check: Option<&Check>) -> Trouble {
    let (expected, observed) = match check.map(|it| &it.finding) {
        Some(Finding::Contradicts { wanted, had }) => (wanted.clone(), had.clone()),
        Some(Finding::Disagrees { had, with, said }) => {
            (format!("{said}, as {with} says"), had.clone())
        }
        Some(Finding::Missing { what }) => (what.clone(), "nothing: it is missing".to_owned()),
        Some(Finding::Agrees) | None => (
            "two witnesses".to_owned(),
            format!("{} witness", claim.witnesses().len()),
        ),
    };
    Trouble {
        claim: claim.text.clone(),
        expected,
        observed,
        witness: check.map(|it| it.witness.to_string()),
        hop: None,
        rule: None,
    }
}

/// Where two ways of a connection part.
pub(super) struct Parting<'a> {
    /// The leg as it was meant, and the hop; none where the way was to be over.
    pub meant: Option<(&'a Leg, &'a str, &'a Hop)>,
    /// The leg as it was seen; none where there is no such connection.
    pub leg: Option<&'a Leg>,
    /// The hop; none where the way is over.
    pub seen: Option<(&'a str, &'a Hop)>,
}

impl Parting<'_> {
    fn hop(&self) -> HopAt {
        let nothing = || "nothing more".to_owned();
        let last = self.leg.and_then(|leg| steps(leg).last().copied());
        let (pod, number) = match (self.seen.or(last), self.meant) {
            (Some((pod, hop)), _) => (pod, Some(hop.number)),
            (None, Some((_, pod, _))) => (pod, None),
            (None, None) => ("node", None),
        };
        HopAt {
            number: number.filter(|it| *it > 0),
            pod: pod.to_owned(),
            expected: self
                .meant
                .map_or_else(nothing, |(leg, _, hop)| line(leg, hop)),
            observed: match (self.leg, self.seen) {
                (Some(leg), Some((_, hop))) => line(leg, hop),
                (Some(_), None) => nothing(),
                (None, _) => "no such connection".to_owned(),
            },
        }
    }
}

/// One hop on one line.
fn line(leg: &Leg, hop: &Hop) -> String {
    let words = hop_words(leg, hop);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first place where what was seen is not what was meant.
pub(super) fn parting<'a>(meant: &'a [Leg], seen: &'a [Leg]) -> Option<Parting<'a>> {
    let mut unused: Vec<&Leg> = seen.iter().collect();
    for leg in meant {
        let same = unused
            .iter()
            .position(|it| is_opened_alike(it, leg) && it.destination == leg.destination);
        let alike = || unused.iter().position(|it| is_opened_alike(it, leg));
        let at = same.or_else(alike);
        let wanted = steps(leg);
        let Some(at) = at else {
            let first = wanted.first().map(|(pod, hop)| (leg, *pod, *hop));
            return Some(Parting {
                meant: first,
                leg: None,
                seen: None,
            });
        };
        let found_leg = unused.remove(at);
        let found = steps(found_leg);
        let longest = wanted.len().max(found.len());
        for place in 0..longest {
            let (wanted, found) = (wanted.get(place), found.get(place));
            let key = |it: Option<&(&'a str, &'a Hop)>| it.map(|(pod, hop)| (*pod, key(hop)));
            if key(wanted) != key(found) {
                return Some(Parting {
                    meant: wanted.map(|(pod, hop)| (leg, *pod, *hop)),
                    leg: Some(found_leg),
                    seen: found.copied(),
                });
            }
        }
    }
    let stranger = unused.first()?;
    Some(Parting {
        meant: None,
        leg: Some(stranger),
        seen: steps(stranger).first().copied(),
    })
}

fn is_opened_alike(one: &Leg, other: &Leg) -> bool {
    let opener = |it: &Leg| (it.opener.pod.clone(), it.opener.role);
    opener(one) == opener(other)
}

/// The hops of a connection that decide something, there and not back.
fn steps(leg: &Leg) -> Vec<(&str, &Hop)> {
    let hops = leg
        .there
        .iter()
        .flat_map(|it| it.hops.iter().map(|hop| (it.pod.as_str(), hop)));
    hops.filter(|(_, hop)| match &hop.event {
        Event::Connect { .. } => true,
        Event::Policy { verdict, .. } => *verdict == traced::Verdict::Drop,
        Event::Passed { .. } => false,
        _ => true,
    })
    .collect()
}

/// What two hops have to have in common to be the same. Places of rules move when others come or go.
fn key(hop: &Hop) -> String {
    match &hop.event {
        Event::Connect { process, .. } => format!("connect by {}:{}", process.uid, process.gid),
        Event::Rule {
            table, chain, text, ..
        } => format!("{table} {chain} {}", text.as_deref().unwrap_or("?")),
        Event::Policy { table, chain, .. } => format!("{table} {chain} policy"),
        Event::Passed { .. } => "passed".to_owned(),
        Event::Accept { listener, .. } => format!("accepted at {listener}"),
        Event::Refused { at } => format!("refused at {}", at.port()),
        Event::Unrouted => "no route".to_owned(),
        Event::Unreachable => "unreachable".to_owned(),
        Event::Unknown { .. } => "unknown".to_owned(),
    }
}
