//! Counters of one flow, pod by pod: what a person expects, what moved, what the model says of it.

use std::collections::BTreeMap;

use super::{Case, Check, Claim, Witness};
use crate::{
    evidence::Window,
    model::Traversal,
    predict::Leg,
    rules::{CounterDelta, RuleId, Table, conservation, spec_text},
    topology::{Flow, path_words},
};

/// Packets per rule.
pub(super) type Moves = BTreeMap<RuleId, u64>;

/// What moved in one pod, and what was expected to.
#[derive(Debug)]
pub(super) struct PodMoves {
    /// What the kernel counted, or why that can't be told.
    pub observed: Result<CounterDelta, String>,
    /// What the lab file expects, by the lab's own rules.
    pub expected: Moves,
    /// The same as the file writes it: one path per connection.
    paths: Vec<String>,
}

impl PodMoves {
    /// Packets of an applied rule.
    fn packets(&self, rule: &RuleId) -> Option<u64> {
        let delta = self.observed.as_ref().ok()?;
        Some(delta.get(rule).map_or(0, |c| c.packets))
    }
}

impl Case<'_> {
    /// Counter moves of every pod that was watched or is expected to move.
    pub(super) fn pod_moves(&self, flow: &Flow, window: &Window) -> BTreeMap<String, PodMoves> {
        let mut pods: BTreeMap<String, PodMoves> = BTreeMap::new();
        let watched = window.counters.keys().chain(flow.nat.keys());
        for pod in watched {
            let observed = match window.counters.get(pod) {
                Some(read) => read.after.since(&read.before).map_err(|e| e.to_string()),
                None => Err(format!("counters of {pod} around the flow")),
            };
            let expected = expected(self, flow, pod);
            let mut paths: Vec<String> = flow
                .nat
                .get(pod)
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect();
            paths.sort();
            let moves = PodMoves {
                observed,
                expected,
                paths,
            };
            pods.insert(pod.clone(), moves);
        }
        pods
    }

    /// The rule, with its text.
    pub(super) fn rule_words(&self, rule: &RuleId) -> String {
        match self.reference.rule(rule) {
            Some(found) => format!("{} `{}`", rule.short(), spec_text(&rule.chain, &found.spec)),
            None => format!("{} (the lab's own rules have no such rule)", rule.short()),
        }
    }

    fn applied_words(&self, rule: &RuleId) -> String {
        match self.applied.rule(rule) {
            Some(found) => format!("{} `{}`", rule.short(), spec_text(&rule.chain, &found.spec)),
            None => rule.short(),
        }
    }

    /// Do the counters show a traversal? Each rule on it must have moved by exactly what the whole flow explains.
    pub(super) fn counter_checks(
        &self,
        pod: &str,
        traversal: &Traversal,
        moves: &BTreeMap<String, PodMoves>,
    ) -> Vec<Check> {
        let witness = Witness::Counters {
            pod: pod.to_string(),
        };
        let Some(of_pod) = moves.get(pod) else {
            return vec![Check::missing(
                witness,
                format!("counters of {pod} around the flow"),
            )];
        };
        let mut checks = Vec::new();
        for rule in traversal.moved() {
            let wanted = of_pod.expected.get(&rule).copied().unwrap_or(0);
            checks.extend(self.compare(&witness, &rule, wanted, of_pod));
        }
        // A traversal that moves no rule leaves counters nothing to say.
        if checks.is_empty() && !traversal.moved().is_empty() {
            checks.push(Check::agrees(witness));
        }
        checks
    }

    /// None when a rule moved as wanted.
    fn compare(
        &self,
        witness: &Witness,
        rule: &RuleId,
        wanted: u64,
        pod: &PodMoves,
    ) -> Option<Check> {
        let witness = witness.clone();
        let words = self.rule_words(rule);
        let wanted_words = format!("{words} +{wanted}");
        if let Err(why) = &pod.observed {
            return Some(Check::missing(witness, why.clone()));
        }
        match self.alignment.applied(rule) {
            None if wanted == 0 => None,
            None => {
                let had = "no such rule in the pod".to_string();
                Some(Check::contradicts(witness, wanted_words, had))
            }
            Some(applied) => {
                let had = pod.packets(applied).unwrap_or(0);
                (had != wanted)
                    .then(|| Check::contradicts(witness, wanted_words, format!("+{had}")))
            }
        }
    }

    /// The closed world of one pod: nothing but what the flow explains.
    pub(super) fn pod_claim(
        &self,
        name: &str,
        pod: &PodMoves,
        legs: &[Leg],
        applied_legs: &[Leg],
        logs_and_entries: Vec<Check>,
    ) -> Claim {
        let counters = Witness::Counters {
            pod: name.to_string(),
        };
        let total: u64 = pod.expected.values().sum();
        let text = match pod.expected.len() {
            0 => format!("no nat rule of {name} moves"),
            1 => format!("{name}: one nat rule moves, by {total}, every other by 0"),
            rules => format!("{name}: {rules} nat rules move, by {total} in all, every other by 0"),
        };
        let mut checks: Vec<Check> = self
            .reference
            .rules(Table::Nat)
            .filter_map(|(rule, _)| {
                let wanted = pod.expected.get(&rule).copied().unwrap_or(0);
                self.compare(&counters, &rule, wanted, pod)
            })
            .collect();
        if let Ok(delta) = &pod.observed {
            for (rule, counter) in delta.moved() {
                if self.alignment.reference(rule).is_none() {
                    let had = format!("{} +{}", self.applied_words(rule), counter.packets);
                    let wanted = "only rules of the lab's own set to move";
                    checks.push(Check::contradicts(counters.clone(), wanted, had));
                }
            }
            for imbalance in conservation(&self.applied, delta) {
                let wanted = "what enters a chain to come out of it";
                checks.push(Check::contradicts(
                    counters.clone(),
                    wanted,
                    imbalance.to_string(),
                ));
            }
            let seen: Moves = delta
                .moved()
                .map(|(rule, c)| (rule.clone(), c.packets))
                .collect();
            checks.push(model_check(&moves_of(name, applied_legs), &seen));
        }
        if checks.iter().all(|c| c.witness != counters) {
            checks.push(Check::agrees(counters));
        }
        checks.push(file_check(&pod.paths, name, legs));
        checks.extend(logs_and_entries);
        Claim::new(text, checks)
    }
}

fn expected(case: &Case, flow: &Flow, pod: &str) -> Moves {
    let mut moves = Moves::new();
    for traversal in flow.nat.get(pod).into_iter().flatten() {
        for (chain, place) in &traversal.rules {
            let rule = RuleId::new(case.family, Table::Nat, chain, *place);
            *moves.entry(rule).or_insert(0) += 1;
        }
    }
    moves
}

/// The traversals that the model sees in a pod.
fn traversals<'l>(pod: &str, legs: &'l [Leg]) -> Vec<&'l Traversal> {
    let near = legs
        .iter()
        .filter(|l| l.opener.pod == pod)
        .filter_map(|l| l.output.as_ref());
    let far = legs
        .iter()
        .filter(|l| l.end.pod() == Some(pod))
        .filter_map(|l| l.prerouting.as_ref());
    near.chain(far).collect()
}

/// What the model says moves in a pod.
pub(super) fn moves_of(pod: &str, legs: &[Leg]) -> Moves {
    let mut moves = Moves::new();
    for rule in traversals(pod, legs).into_iter().flat_map(Traversal::moved) {
        *moves.entry(rule).or_insert(0) += 1;
    }
    moves
}

/// Did the kernel count what the model predicts from the rules in the pod?
pub(super) fn model_check(predicted: &Moves, counted: &Moves) -> Check {
    let count = |of: &Moves, rule: &RuleId| of.get(rule).copied().unwrap_or(0);
    let rules = predicted.keys().chain(counted.keys());
    match rules
        .into_iter()
        .find(|rule| count(predicted, rule) != count(counted, rule))
    {
        None => Check::agrees(Witness::Model),
        Some(rule) => Check::contradicts(
            Witness::Model,
            format!(
                "{} +{}, predicted from the rules in the pod",
                rule.short(),
                count(predicted, rule)
            ),
            format!("+{} by the kernel", count(counted, rule)),
        ),
    }
}

/// The person and the model must agree on the lab's own rules, path by path, or one of them is wrong.
fn file_check(expected: &[String], pod: &str, legs: &[Leg]) -> Check {
    let path = |t: &&Traversal| {
        let moved = t.moved().into_iter().map(|r| (r.chain, r.ordinal));
        path_words(&moved.collect::<Vec<_>>())
    };
    let mut predicted: Vec<String> = traversals(pod, legs).iter().map(path).collect();
    predicted.sort();
    if predicted == expected {
        return Check::agrees(Witness::Model);
    }
    let only = |here: &[String], there: &[String]| {
        let mut rest = there.to_vec();
        let mut extra = here.to_vec();
        extra.retain(|path| match rest.iter().position(|p| p == path) {
            Some(at) => {
                rest.swap_remove(at);
                false
            }
            None => true,
        });
        if extra.is_empty() {
            "nothing".to_string()
        } else {
            extra.join(" and ")
        }
    };
    Check::contradicts(
        Witness::Model,
        format!("by the lab file also {}", only(expected, &predicted)),
        format!(
            "by the model of the lab's own rules also {}",
            only(&predicted, expected)
        ),
    )
}
