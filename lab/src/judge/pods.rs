//! Counters of one flow, pod by pod: what is expected, what moved, what the model says of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Agreement, Case, Check, Claim, RuleSets, Witness, agreement,
    matching::{Matched, Matching},
};
use crate::{
    evidence::Window,
    lab_file::Expect,
    predict::{Crossing, Moves, Range},
    rules::{self, CounterDelta, RuleId, Table, conservation},
    topology::{Flow, NODE, path_words},
};

/// What moved in one pod, and what was expected to.
#[derive(Debug)]
pub(super) struct PodMoves {
    /// What the kernel counted, or why that can't be told.
    pub observed: Result<CounterDelta, String>,
    /// What is expected, by the rules that were meant: of nat what the lab file says, if flows are judged by it; of
    /// all else what the model reads from the rules.
    pub expected: Moves,
    /// What the model predicts from the rules in the pod.
    pub predicted: Moves,
    /// What the lab file expects of nat, as it writes it: one path per connection. None when it is no witness.
    file: Option<Vec<String>>,
}

impl PodMoves {
    /// Packets of an applied rule; none where it has no counter.
    fn packets(&self, rule: &RuleId) -> Option<u64> {
        let delta = self.observed.as_ref().ok()?;
        delta.get(rule).map(|c| c.packets)
    }

    /// Model and kernel, rule by rule.
    pub fn agreement(&self) -> Agreement {
        let counted = self.observed.as_ref().ok();
        counted.map_or(Agreement::default(), |it| {
            Agreement::of(&self.predicted, it)
        })
    }
}

/// What the model says moves in a pod.
pub(super) fn moves_of(pod: &str, matching: &Matching) -> Moves {
    let mut moves = Moves::default();
    for (matched, crossing) in crossings(pod, matching) {
        moves.add_all(&crossing.moves(matched.counted(crossing)));
    }
    moves
}

fn crossings<'m>(
    pod: &str,
    matching: &'m Matching,
) -> impl Iterator<Item = (&'m Matched<'m>, &'m Crossing)> {
    let all = matching.legs.iter();
    let all = all.flat_map(|matched| matched.leg.crossings().map(move |it| (matched, it)));
    all.filter(move |(_, crossing)| crossing.pod == pod)
}

impl Case<'_> {
    /// Counter moves of every pod that was watched or is expected to move. `meant` are the legs by the rules that were
    /// meant, `held` those by the rules in the pods.
    pub(super) fn pod_moves(
        &self,
        flow: &Flow,
        window: &Window,
        meant: &Matching,
        held: &Matching,
    ) -> BTreeMap<String, PodMoves> {
        let legs = meant
            .legs
            .iter()
            .flat_map(|matched| matched.leg.crossings());
        let mut pods: BTreeSet<&String> = legs.map(|crossing| &crossing.pod).collect();
        pods.extend(window.counters.keys());
        if self.expect == Expect::File {
            pods.extend(flow.nat.keys());
        }
        let moves = |pod: &String| {
            let observed = match window.counters.get(pod) {
                Some(read) => read.after.since(&read.before).map_err(|e| e.to_string()),
                None => Err(format!("counters of {pod} around the flow")),
            };
            let mut expected = moves_of(pod, meant);
            // Nobody writes down which rules of kube-proxy move.
            let by_file = self.expect == Expect::File && pod != NODE;
            let file = by_file.then(|| {
                expected.0.retain(|rule, _| rule.table != Table::Nat);
                expected.add_all(&self.file_moves(flow, pod));
                let paths = flow.nat.get(pod).into_iter().flatten();
                let mut paths: Vec<String> = paths.map(ToString::to_string).collect();
                paths.sort();
                paths
            });
            PodMoves {
                observed,
                expected,
                predicted: moves_of(pod, held),
                file,
            }
        };
        pods.into_iter()
            .map(|pod| (pod.clone(), moves(pod)))
            .collect()
    }

    /// nat moves that a person wrote down.
    fn file_moves(&self, flow: &Flow, pod: &str) -> Moves {
        let mut moves = Moves::default();
        for traversal in flow.nat.get(pod).into_iter().flatten() {
            for (chain, place) in &traversal.rules {
                let rule = RuleId::new(self.family, Table::Nat, chain, *place);
                moves.add(&rule, 1, Some(1));
            }
        }
        moves
    }

    /// Do the counters show a connection? Each rule on its way must have moved by what the whole flow explains.
    pub(super) fn counter_checks(
        &self,
        crossing: &Crossing,
        matched: &Matched,
        moves: &BTreeMap<String, PodMoves>,
    ) -> Vec<Check> {
        let pod = &crossing.pod;
        let witness = Witness::Counters { pod: pod.clone() };
        let Some(of_pod) = moves.get(pod) else {
            return vec![Check::missing(
                witness,
                format!("counters of {pod} around the flow"),
            )];
        };
        let sets = self.rules_of(pod);
        let on_its_way = crossing.moves(matched.counted(crossing)).0;
        let wanted = |rule| of_pod.expected.of(rule);
        let found = on_its_way
            .keys()
            .filter_map(|rule| compare(sets, &witness, rule, wanted(rule), of_pod));
        let mut checks: Vec<Check> = found.collect();
        let counts = |rule: &RuleId| {
            let applied = sets.alignment.applied(rule);
            applied.is_none_or(|applied| of_pod.packets(applied).is_some())
        };
        // A connection that moves no rule, or none that counts, leaves counters nothing to say.
        if checks.is_empty() && on_its_way.keys().any(counts) {
            checks.push(Check::agrees(witness));
        }
        checks
    }

    /// The closed world of one pod: nothing but what the flow explains.
    pub(super) fn pod_claim(
        &self,
        name: &str,
        pod: &PodMoves,
        meant: &Matching,
        logs_and_entries: Vec<Check>,
    ) -> Claim {
        let counters = Witness::Counters {
            pod: name.to_string(),
        };
        let sets = self.rules_of(name);
        let rules = Table::ALL
            .iter()
            .flat_map(|table| sets.reference.rules(*table));
        let mut checks: Vec<Check> = rules
            .filter_map(|(rule, _)| compare(sets, &counters, &rule, pod.expected.of(&rule), pod))
            .collect();
        if let Ok(delta) = &pod.observed {
            for (rule, counter) in delta.moved() {
                if sets.alignment.reference(rule).is_none() {
                    let had = format!("{} +{}", sets.applied_words(rule), counter.packets);
                    let wanted = "only rules of the lab's own set to move";
                    checks.push(Check::contradicts(counters.clone(), wanted, had));
                }
            }
            for imbalance in conservation(&sets.applied, delta) {
                let wanted = "what enters a chain to come out of it";
                checks.push(Check::contradicts(
                    counters.clone(),
                    wanted,
                    imbalance.to_string(),
                ));
            }
            checks.extend(agreement::checks(&pod.predicted, delta));
        }
        if checks.iter().all(|c| c.witness != counters) {
            checks.push(Check::agrees(counters));
        }
        if let Some(file) = &pod.file {
            checks.push(file_check(file, name, meant));
        }
        checks.extend(logs_and_entries);
        Claim::new(claim_text(name, &pod.expected), checks)
    }
}

/// None when a rule moved as wanted.
fn compare(
    sets: &RuleSets,
    witness: &Witness,
    rule: &RuleId,
    wanted: Range,
    pod: &PodMoves,
) -> Option<Check> {
    let witness = witness.clone();
    let wanted_words = format!("{} {wanted}", sets.rule_words(rule));
    if let Err(why) = &pod.observed {
        return Some(Check::missing(witness, why.clone()));
    }
    match sets.alignment.applied(rule) {
        None if wanted.contains(0) => None,
        None => {
            let had = "no such rule in the pod".to_string();
            Some(Check::contradicts(witness, wanted_words, had))
        }
        Some(applied) => {
            // A rule without a counter is no witness.
            let had = pod.packets(applied)?;
            (!wanted.contains(had))
                .then(|| Check::contradicts(witness, wanted_words, format!("+{had}")))
        }
    }
}

/// `ISTIO_OUTPUT 4` in nat, `mangle ISTIO_DIVERT 1` elsewhere.
pub(super) fn rule_name(rule: &RuleId) -> String {
    match rule.table {
        Table::Nat => rule.short(),
        _ => rule.to_string(),
    }
}

fn claim_text(pod: &str, expected: &Moves) -> String {
    let of = |nat: bool| {
        let moves = expected.0.iter();
        moves
            .filter(move |(rule, range)| (rule.table == Table::Nat) == nat && range.most != Some(0))
    };
    let total = rules::packets(of(true).map(|(_, range)| range.least));
    let others = match of(false).count() {
        0 => String::new(),
        1 => " and one of the other tables".to_string(),
        rules => format!(" and {rules} of the other tables"),
    };
    match (of(true).count(), others.is_empty()) {
        (0, true) => format!("no rule of {pod} moves"),
        (0, false) => format!(
            "no nat rule of {pod} moves{}",
            others.replace(" and", ", but")
        ),
        (1, _) => format!("{pod}: one nat rule moves, by {total}{others}, every other by 0"),
        (rules, _) => {
            format!("{pod}: {rules} nat rules move, by {total} in all{others}, every other by 0")
        }
    }
}

/// The person and the model must agree on the lab's own rules, path by path, or one of them is wrong.
fn file_check(expected: &[String], pod: &str, meant: &Matching) -> Check {
    let paths = crossings(pod, meant).flat_map(|(_, crossing)| crossing.nat_paths());
    let words = |path: Vec<RuleId>| {
        let hops = path.into_iter().map(|r| (r.chain, r.ordinal));
        path_words(&hops.collect::<Vec<_>>())
    };
    let mut predicted: Vec<String> = paths.map(words).collect();
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
