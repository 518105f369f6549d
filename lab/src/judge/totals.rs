//! Claims about the whole run: the windows leave no gap, and nothing moved outside of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, Check, Claim, Witness, agreement, agreement::Predicted};
use crate::{
    evidence::{Evidence, PodUp, Window},
    predict::{Moves, World, background},
    rules::{self, CounterSnapshot, Family, RuleId},
};

/// What the model predicts of one pod and family for the whole run.
pub(super) fn predicted(
    evidence: &Evidence,
    predicted: &[Predicted],
    family: Family,
    pod: &str,
) -> Moves {
    let mut sum = Moves::default();
    for (window, of_window) in evidence.windows.iter().zip(predicted) {
        if let Some(moves) = of_window.get(pod).filter(|_| window.family == family) {
            sum.add_all(moves);
        }
    }
    sum
}

/// One claim per pod and family with rules. A family that no flow ran over must not have moved at all.
pub(super) fn claims(cases: &[Case], evidence: &Evidence, predicted: &[Predicted]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for pod in &evidence.up.pods {
        for first in &pod.counters {
            let family = first.family;
            let windows = evidence.windows.iter().filter(|w| w.family == family);
            let background = idle(cases, pod, family);
            let mut model = self::predicted(evidence, predicted, family, &pod.name);
            model.add_background(&background);
            let totals = evidence.totals.get(&pod.name);
            let whole = Whole {
                pod: &pod.name,
                first,
                last: totals.and_then(|t| t.iter().find(|c| c.family == family)),
                windows: windows.collect(),
                predicted: model,
                background,
            };
            claims.push(whole.claim());
        }
    }
    claims
}

/// Rules of a pod that packets of no flow move.
fn idle(cases: &[Case], pod: &PodUp, family: Family) -> BTreeSet<RuleId> {
    if let Some(case) = cases.iter().find(|case| case.family == family) {
        return case.applied_background.clone();
    }
    // No flow ran over this family.
    let text = pod.rules.get(&family);
    let rules = text.and_then(|text| rules::parse(text, family, "the rules in the evidence").ok());
    let (Some(rules), Some(case)) = (rules, cases.first()) else {
        return BTreeSet::new();
    };
    background(&World::new(case.topology, &rules, case.interception))
}

/// The counters of a pod over the whole run.
struct Whole<'a> {
    pod: &'a str,
    first: &'a CounterSnapshot,
    last: Option<&'a CounterSnapshot>,
    windows: Vec<&'a Window>,
    predicted: Moves,
    background: BTreeSet<RuleId>,
}

impl Whole<'_> {
    fn claim(&self) -> Claim {
        let Self { pod, first, .. } = self;
        let text = format!("{pod}: no {} rule moved outside the flows", first.family);
        let counters = Witness::Counters {
            pod: pod.to_string(),
        };
        let Some(last) = self.last else {
            let what = format!("{} counters after the run", first.family);
            return Claim::new(text, vec![Check::missing(counters, what)]);
        };
        let mut sum: BTreeMap<RuleId, u64> = BTreeMap::new();
        for read in self.windows.iter().filter_map(|w| w.counters.get(*pod)) {
            match read.after.since(&read.before) {
                Ok(delta) => {
                    for (rule, counter) in delta.moved() {
                        let sum = sum.entry(rule.clone()).or_insert(0);
                        *sum = sum.saturating_add(counter.packets);
                    }
                }
                Err(error) => {
                    return Claim::new(text, vec![Check::missing(counters, error.to_string())]);
                }
            }
        }
        let whole = match last.since(first) {
            Ok(whole) => whole,
            Err(error) => {
                return Claim::new(text, vec![Check::missing(counters, error.to_string())]);
            }
        };
        let mut checks: Vec<Check> = whole
            .rules()
            .iter()
            .filter(|(rule, _)| !self.background.contains(rule))
            .filter_map(|(rule, counter)| {
                let wanted = sum.get(rule).copied().unwrap_or(0);
                (wanted != counter.packets).then(|| {
                    let wanted = format!("{rule} +{wanted}, the sum of the flows");
                    Check::contradicts(counters.clone(), wanted, format!("+{}", counter.packets))
                })
            })
            .collect();
        if checks.is_empty() {
            checks.push(Check::agrees(counters));
        }
        let moved = whole.moved();
        let moved = moved.map(|(rule, c)| (rule.clone(), c.packets)).collect();
        checks.extend(agreement::checks(&self.predicted, &moved));
        Claim::new(text, checks)
    }
}
