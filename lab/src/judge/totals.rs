//! Claims about the whole run: the windows leave no gap, and nothing moved outside of them.

use std::collections::BTreeMap;

use super::{Case, Check, Claim, Witness};
use crate::{
    evidence::Evidence,
    rules::{CounterSnapshot, RuleId},
};

/// One claim per pod with rules.
pub(super) fn claims(case: &Case, evidence: &Evidence) -> Vec<Claim> {
    let pods = evidence.up.pods.iter().filter(|p| !p.rules.is_empty());
    pods.map(|pod| {
        let of_family = |all: &[CounterSnapshot]| all.iter().find(|c| c.family == case.family).cloned();
        let first = of_family(&pod.counters);
        let last = evidence.totals.get(&pod.name).and_then(|t| of_family(t));
        claim(&pod.name, first, last, evidence)
    })
    .collect()
}

fn claim(
    pod: &str,
    first: Option<CounterSnapshot>,
    last: Option<CounterSnapshot>,
    evidence: &Evidence,
) -> Claim {
    let text = format!("{pod}: nothing moved outside the flows");
    let counters = Witness::Counters { pod: pod.to_string() };
    let (Some(first), Some(last)) = (first, last) else {
        return Claim::new(text, vec![Check::missing(counters, "counters before or after the run")]);
    };
    let mut sum: BTreeMap<RuleId, u64> = BTreeMap::new();
    for read in evidence.windows.iter().filter_map(|w| w.counters.get(pod)) {
        match read.after.since(&read.before) {
            Ok(delta) => {
                for (rule, counter) in delta.moved() {
                    *sum.entry(rule.clone()).or_insert(0) += counter.packets;
                }
            }
            Err(error) => return Claim::new(text, vec![Check::missing(counters, error.to_string())]),
        }
    }
    let whole = match last.since(&first) {
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
    // The second witness: the pod's own logs have no connection outside the windows, which take every record.
    let role = hoplab_proxies::record::Role::Proxy;
    checks.push(Check::agrees(Witness::Log { pod: pod.to_string(), role }));
    Claim::new(text, checks)
}
