//! Claims about the whole run: the windows leave no gap, and nothing moved outside of them.

use std::collections::BTreeMap;

use super::{
    Case, Check, Claim, Witness,
    pods::{Moves, model_check, moves_of},
};
use crate::{
    evidence::{Evidence, Window},
    predict::{Turns, predict},
    rules::{CounterSnapshot, RuleId},
};

/// Packets per applied rule that the model predicts for the whole run, by pod.
pub(super) type Predicted = BTreeMap<String, Moves>;

/// Predicts the counters of the whole run from the rules in the pods.
pub(super) fn predicted(case: &Case, evidence: &Evidence) -> Predicted {
    let mut turns = Turns::default();
    let mut sums = Predicted::new();
    for window in &evidence.windows {
        if let Some(flow) = case.topology.flow(&window.flow) {
            let legs = predict(case.topology, &case.applied, flow, &mut turns.clone());
            for pod in evidence.up.pods.iter().filter(|p| !p.rules.is_empty()) {
                let sum = sums.entry(pod.name.clone()).or_default();
                for (rule, packets) in moves_of(&pod.name, &legs) {
                    *sum.entry(rule).or_insert(0) += packets;
                }
            }
        }
        turns.observe(case.topology, case.family, &window.records);
    }
    sums
}

/// One claim per pod and family with rules. The family that no flow ran over must not have moved at all.
pub(super) fn claims(case: &Case, evidence: &Evidence) -> Vec<Claim> {
    let predicted = predicted(case, evidence);
    let none = Moves::new();
    let mut claims = Vec::new();
    for pod in &evidence.up.pods {
        for first in &pod.counters {
            let of_flows = first.family == case.family;
            let windows = if of_flows {
                evidence.windows.as_slice()
            } else {
                &[]
            };
            let model = predicted
                .get(&pod.name)
                .filter(|_| of_flows)
                .unwrap_or(&none);
            let totals = evidence.totals.get(&pod.name);
            let last = totals.and_then(|t| t.iter().find(|c| c.family == first.family));
            claims.push(claim(&pod.name, first, last, windows, model));
        }
    }
    claims
}

fn claim(
    pod: &str,
    first: &CounterSnapshot,
    last: Option<&CounterSnapshot>,
    windows: &[Window],
    predicted: &Moves,
) -> Claim {
    let text = format!("{pod}: no {} rule moved outside the flows", first.family);
    let counters = Witness::Counters {
        pod: pod.to_string(),
    };
    let Some(last) = last else {
        let what = format!("{} counters after the run", first.family);
        return Claim::new(text, vec![Check::missing(counters, what)]);
    };
    let mut sum: BTreeMap<RuleId, u64> = BTreeMap::new();
    for read in windows.iter().filter_map(|w| w.counters.get(pod)) {
        match read.after.since(&read.before) {
            Ok(delta) => {
                for (rule, counter) in delta.moved() {
                    *sum.entry(rule.clone()).or_insert(0) += counter.packets;
                }
            }
            Err(error) => {
                return Claim::new(text, vec![Check::missing(counters, error.to_string())]);
            }
        }
    }
    let whole = match last.since(first) {
        Ok(whole) => whole,
        Err(error) => return Claim::new(text, vec![Check::missing(counters, error.to_string())]),
    };
    let mut checks: Vec<Check> = whole
        .rules()
        .iter()
        .filter_map(|(rule, counter)| {
            let wanted = sum.get(rule).copied().unwrap_or(0);
            (wanted != counter.packets).then(|| {
                let wanted = format!("{} +{wanted}, the sum of the flows", rule.short());
                Check::contradicts(counters.clone(), wanted, format!("+{}", counter.packets))
            })
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::agrees(counters));
    }
    let moved: Moves = whole
        .moved()
        .map(|(rule, c)| (rule.clone(), c.packets))
        .collect();
    checks.push(model_check(predicted, &moved));
    Claim::new(text, checks)
}
