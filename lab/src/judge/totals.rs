//! Claims about the whole run: the windows leave no gap, and nothing moved outside of them.

use std::collections::BTreeMap;

use super::{Case, Check, Claim, Witness, agreement, agreement::Predicted};
use crate::{
    evidence::{Evidence, Window},
    predict::Moves,
    rules::{CounterSnapshot, Family, RuleId},
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
            let of_flows = cases.iter().any(|case| case.family == family);
            let windows = evidence
                .windows
                .iter()
                .filter(|w| of_flows && w.family == family);
            let model = self::predicted(evidence, predicted, family, &pod.name);
            let totals = evidence.totals.get(&pod.name);
            let last = totals.and_then(|t| t.iter().find(|c| c.family == family));
            claims.push(claim(
                &pod.name,
                first,
                last,
                &windows.collect::<Vec<_>>(),
                &model,
            ));
        }
    }
    claims
}

fn claim(
    pod: &str,
    first: &CounterSnapshot,
    last: Option<&CounterSnapshot>,
    windows: &[&Window],
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
        Err(error) => return Claim::new(text, vec![Check::missing(counters, error.to_string())]),
    };
    let mut checks: Vec<Check> = whole
        .rules()
        .iter()
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
    checks.extend(agreement::checks(predicted, &moved));
    Claim::new(text, checks)
}
