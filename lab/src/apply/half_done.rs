//! What a failed apply leaves that is neither what was there nor what was planned. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Step, pod::changes, state::OWN};
use crate::rules::{Family, RuleSet, Table, spec_text};

/// A pod between two rule sets: istio-init undoes nothing when a command of it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfDone {
    /// Rules before, both families.
    pub before: usize,
    /// Rules now.
    pub now: usize,
    /// Rules that were planned.
    pub planned: usize,
    /// Rules, with family and table, that are not planned and lead to a chain of Istio's: such a chain is in use, so it
    /// can't be deleted, and a restore makes no chain that is there.
    pub kept: Vec<String>,
    /// Planned rules were taken away before.
    pub cleaned_up: bool,
}

type Sets = BTreeMap<Family, RuleSet>;

/// What is half done; none when all commands that count succeeded, or nothing is other than before.
pub(super) fn half_done(
    before: &Sets,
    now: &Sets,
    meant: &Sets,
    steps: &[Step],
) -> Option<HalfDone> {
    let failed = steps.iter().any(|step| !step.ok && !step.tried);
    if !failed || changes(before, now).is_empty() {
        return None;
    }
    let count = |sets: &Sets| sets.values().map(RuleSet::len).sum();
    Some(HalfDone {
        before: count(before),
        now: count(now),
        planned: count(meant),
        kept: now.values().flat_map(|set| kept(set, meant)).collect(),
        cleaned_up: steps.iter().any(|step| step.tried),
    })
}

fn kept(set: &RuleSet, meant: &Sets) -> Vec<String> {
    let planned = meant.get(&set.family);
    let is_planned = |table: Table, chain: &str, spec: &_| {
        let chain = planned.and_then(|it| it.tables.get(&table)?.chain(chain));
        chain.is_some_and(|it| it.rules.iter().any(|rule| rule.spec == *spec))
    };
    let rules = set.tables.keys().flat_map(|table| set.rules(*table));
    let leads = rules.filter(|(id, rule)| {
        let to = rule.spec.target.chain();
        to.is_some_and(|it| it.starts_with(OWN)) && !is_planned(id.table, &id.chain, &rule.spec)
    });
    let words = leads.map(|(id, rule)| {
        let text = spec_text(&id.chain, &rule.spec);
        format!("{}: {} {text}", set.family, id.table)
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse;

    fn sets(text: &str) -> Sets {
        let set = parse(text, Family::V4, "a test").expect("valid");
        [(Family::V4, set)].into()
    }

    fn step(ok: bool, tried: bool) -> Step {
        Step {
            command: String::new(),
            status: String::new(),
            ok,
            tried,
            stderr: String::new(),
            changes: Vec::new(),
        }
    }

    const OLD: &str = "*nat\n-N ISTIO_OUTPUT\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -j RETURN\nCOMMIT\n";
    const NEW: &str =
        "*nat\n-N ISTIO_OUTPUT\n-A OUTPUT -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -j RETURN\nCOMMIT\n";
    const LEFT: &str = "*nat\n-N ISTIO_OUTPUT\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\nCOMMIT\n";

    #[test]
    fn a_jump_that_is_not_planned_keeps_its_chain() {
        let steps = [step(false, true), step(false, false)];
        let found = half_done(&sets(OLD), &sets(LEFT), &sets(NEW), &steps).expect("half done");
        assert_eq!((found.before, found.now, found.planned), (2, 1, 2));
        assert_eq!(found.kept, ["IPv4: nat -A OUTPUT -p tcp -j ISTIO_OUTPUT"]);
        assert!(found.cleaned_up);
    }

    #[test]
    fn what_failed_and_changed_nothing_or_only_tried_is_not_half_done() {
        let failed = [step(false, false)];
        assert_eq!(half_done(&sets(OLD), &sets(OLD), &sets(NEW), &failed), None);
        let tried = [step(false, true), step(true, false)];
        assert_eq!(half_done(&sets(OLD), &sets(NEW), &sets(NEW), &tried), None);
    }
}
