//! Claims about the whole run: the windows leave no gap, and nothing moved outside of them.

use std::collections::BTreeMap;

use super::{Check, Claim, Witness, agreement, agreement::Predicted, rule_sets::held};
use crate::{
    evidence::{Evidence, Window},
    failure::Failure,
    predict::Moves,
    rules::{CounterSnapshot, Family, RuleId, RuleSet},
};

/// The counters of one family's rules in the pods.
struct Counted {
    family: Family,
    /// What the kernel holds.
    rules: RuleSet,
}

impl Counted {
    /// What a rule that a flow moved is called here, if its packets are counted here: rules of an inet table have one
    /// counter for both families.
    fn name(&self, moved: &RuleId) -> Option<RuleId> {
        let rule = RuleId {
            family: self.family,
            ..moved.clone()
        };
        (rule == *moved || self.rules.counts_both_families(&rule)).then_some(rule)
    }
}

/// What the model predicts of one pod for the whole run, in the counters of one family.
fn predicted(predicted: &[Predicted], counted: &Counted, pod: &str) -> Moves {
    let mut sum = Moves::default();
    let moves = predicted.iter().filter_map(|of_window| of_window.get(pod));
    for (rule, range) in moves.flat_map(|moves| &moves.0) {
        if let Some(rule) = counted.name(rule) {
            sum.add(&rule, range.least, range.most);
        }
    }
    sum
}

/// What the model predicts of one pod and family for the whole run, in rules of that family alone.
pub(super) fn predicted_alone(all: &[Predicted], family: Family, pod: &str) -> Moves {
    let rules = RuleSet::empty(family);
    predicted(all, &Counted { family, rules }, pod)
}

/// One claim per pod and family with rules. A family that no flow ran over must not have moved at all, but for counters
/// that it shares with the other.
///
/// # Errors
/// The evidence holds rules that can't be read.
pub(super) fn claims(evidence: &Evidence, all: &[Predicted]) -> Result<Vec<Claim>, Failure> {
    let mut claims = Vec::new();
    for pod in &evidence.up.pods {
        for first in &pod.counters {
            let counted = Counted {
                family: first.family,
                rules: held(Some(pod), first.family)?,
            };
            let model = predicted(all, &counted, &pod.name);
            let totals = evidence.totals.get(&pod.name);
            let last = totals.and_then(|t| t.iter().find(|c| c.family == first.family));
            let windows = &evidence.windows;
            claims.push(claim(&pod.name, (first, last), windows, &counted, &model));
        }
    }
    Ok(claims)
}

fn claim(
    pod: &str,
    (first, last): (&CounterSnapshot, Option<&CounterSnapshot>),
    windows: &[Window],
    counted: &Counted,
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
                let moved = delta.moved();
                for (rule, counter) in
                    moved.filter_map(|(rule, it)| Some((counted.name(rule)?, it)))
                {
                    let sum = sum.entry(rule).or_insert(0);
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
    checks.extend(agreement::checks(predicted, &whole));
    Claim::new(text, checks)
}
