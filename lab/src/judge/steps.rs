//! Runs with steps: each stretch between two steps is judged with the rules and processes it had, and each step with
//! what it was to do.

use std::collections::BTreeMap;

use hoplab_proxies::record::Transport;

use super::{
    Check, Claim, Judgement, Verdict, Witness,
    rule_sets::{self, RuleSets},
};
use crate::{
    evidence::{Evidence, PodUp, Said, Taken, Window},
    failure::{Class, Failure},
    lab_file::{Expect, LabFile},
    predict::{Memory, Remembered, Turns},
    rules::{self, Family, RuleId, RuleSet, Table},
    topology::{Action, RulePlace, Step},
};

/// Claims about the last step that led to a lab as it stands now. `before` and `after` are the pods.
pub(super) fn claims(
    now: &LabFile,
    taken: &Taken,
    before: &[PodUp],
) -> Result<Vec<Claim>, Failure> {
    let steps = &now.topology.steps;
    let Some(step) = steps.iter().find(|it| it.name == taken.step) else {
        let what = format!(
            "the evidence holds a step `{}` that the lab does not have",
            taken.step
        );
        return Err(Failure::new(Class::Input, what));
    };
    let mut claims: Vec<Claim> = moves_claim(now, step, taken)?.into_iter().collect();
    let refused = match &step.action {
        Action::Edit(_) | Action::Apply { .. } => false,
        Action::Init { refused } => *refused,
        Action::Plug { pod } | Action::Unplug { pod } => {
            claims.extend(interface_claim(now, taken, pod));
            return Ok(claims);
        }
        _ => return Ok(claims),
    };
    let changed = now.pods_of_step(step);
    for pod in taken.pods.iter().filter(|it| changed.contains(&it.name)) {
        let text = match (&step.action, refused) {
            (Action::Init { .. }, true) => "init is refused, and changes no rule",
            (Action::Init { .. }, false) => "init runs again, and changes no rule",
            _ => "the pod has the rules that were meant",
        };
        let text = format!("step {}: {}: {text}", step.name, pod.name);
        let mut checks = Vec::new();
        for said in taken.said.iter().filter(|it| it.pod == pod.name) {
            let witness = Witness::Command {
                pod: pod.name.clone(),
            };
            let words = |ok: bool| if ok { "accepted" } else { "refused" };
            checks.push(match said.ok != refused {
                true => Check::agrees(witness),
                false => {
                    let had = format!("{}: {} {}", words(said.ok), said.command, said.words);
                    Check::contradicts(witness, words(!refused), had)
                }
            });
        }
        for family in [Family::V4, Family::V6] {
            let Some(held) = held(pod, family)? else {
                continue;
            };
            let meant = match &step.action {
                Action::Init { .. } => {
                    let before = before.iter().find(|it| it.name == pod.name);
                    before
                        .map(|it| self::held(it, family))
                        .transpose()?
                        .flatten()
                }
                _ => now.meant_in(&pod.name, family)?,
            };
            let witness = Witness::Rules {
                pod: pod.name.clone(),
            };
            let empty = || RuleSet::empty(family);
            let found = rules::diff(&meant.unwrap_or_else(empty), &held, &Table::ALL);
            checks.push(match found.first() {
                None => Check::agrees(witness),
                Some(first) => Check::contradicts(witness, "no difference", first.to_string()),
            });
        }
        claims.push(Claim::new(text, checks));
    }
    Ok(claims)
}

/// A step moves the rules that it names, and no other: counters just before it against those just behind it. Places are
/// those of the lab's own rules, as everywhere.
fn moves_claim(now: &LabFile, step: &Step, taken: &Taken) -> Result<Option<Claim>, Failure> {
    let Some(named) = step.moves.as_ref().filter(|_| now.expect == Expect::File) else {
        return Ok(None);
    };
    let none = Vec::new();
    let mut checks: Vec<Check> = taken.said.iter().map(was_done).collect();
    for (pod, before) in &taken.totals {
        let witness = Witness::Counters { pod: pod.clone() };
        let named = named.get(pod).unwrap_or(&none);
        let after = taken.pods.iter().find(|it| it.name == *pod);
        let mut moved: Vec<(Option<RuleId>, String)> = Vec::new();
        for earlier in before {
            let family = earlier.family;
            let later = after.and_then(|it| it.counters.iter().find(|it| it.family == family));
            let delta = match later.map(|it| it.since(earlier)) {
                Some(Ok(delta)) => delta,
                Some(Err(why)) => {
                    checks.push(Check::missing(witness.clone(), why.to_string()));
                    continue;
                }
                None => {
                    let what = format!("the {family} counters behind it");
                    checks.push(Check::missing(witness.clone(), what));
                    continue;
                }
            };
            let reference = match now.own().get(pod) {
                Some(own) => now.reference_of(own, family)?,
                None => now.reference(family)?,
            };
            let sets = RuleSets::new(reference, rule_sets::held(after, family)?);
            moved.extend(delta.moved().map(|(rule, count)| {
                let words = format!("{} +{}", sets.applied_words(rule), count.packets);
                (sets.alignment.reference(rule).cloned(), words)
            }));
        }
        let is_named = |rule: &RuleId| named.iter().any(|it| is(it, rule));
        let moves = |place: &RulePlace| {
            moved
                .iter()
                .any(|it| it.0.as_ref().is_some_and(|it| is(place, it)))
        };
        let still = named.iter().filter(|it| !moves(it));
        let still = still.map(|it| (format!("{it} moves"), "it does not".to_owned()));
        let others = moved
            .iter()
            .filter(|it| !it.0.as_ref().is_some_and(is_named));
        let others = others.map(|(_, words)| ("no other rule moves".to_owned(), words.clone()));
        let wrong: Vec<(String, String)> = still.chain(others).collect();
        if wrong.is_empty() {
            checks.push(Check::agrees(witness.clone()));
        }
        let wrong = wrong.into_iter();
        checks.extend(wrong.map(|(wanted, had)| Check::contradicts(witness.clone(), wanted, had)));
    }
    let rules = named
        .iter()
        .flat_map(|(pod, rules)| rules.iter().map(move |it| (pod, it)));
    let rules: Vec<String> = rules.map(|(pod, it)| format!("{it} of {pod}")).collect();
    let what = match rules.is_empty() {
        true => "no rule".to_owned(),
        false => format!("{}, and no other rule", rules.join(", ")),
    };
    let text = format!("step {} moves {what}", step.name);
    Ok(Some(Claim::new(text, checks)))
}

/// That the step was taken, by the exit of what took it.
fn was_done(said: &Said) -> Check {
    let witness = Witness::Command {
        pod: said.pod.clone(),
    };
    match said.ok {
        true => Check::agrees(witness),
        false => Check::contradicts(witness, "done", format!("{}: {}", said.command, said.words)),
    }
}

/// Whether a rule is the one at a place.
fn is(place: &RulePlace, rule: &RuleId) -> bool {
    (place.table, &place.chain, place.place) == (rule.table, &rule.chain, rule.ordinal)
}

/// The kernel has the interfaces of a pod's link exactly where the lab has them.
fn interface_claim(now: &LabFile, taken: &Taken, pod: &str) -> Option<Claim> {
    let pod = now.topology.pod(pod)?;
    let outer = pod.behind.clone()?;
    let words = |is_there: bool| if is_there { "there" } else { "gone" };
    let ends = [
        (outer.clone(), &pod.host_interface),
        (pod.name.clone(), &pod.interface),
    ];
    let checks = ends.into_iter().map(|(pod_name, interface)| {
        let witness = Witness::Interfaces {
            pod: pod_name.clone(),
        };
        let Some(had) = taken.interfaces.get(&pod_name) else {
            return Check::missing(witness, format!("the interfaces of {pod_name}"));
        };
        let is_there = had.iter().any(|it| *it == interface.to_string());
        let what = format!("interface {interface}");
        Check::equal(witness, &what, &words(pod.plugged), &words(is_there))
    });
    let text = format!(
        "step {}: {outer}: interface {} is {}",
        taken.step,
        pod.host_interface,
        words(pod.plugged)
    );
    Some(Claim::new(text, checks.collect()))
}

/// What conntrack knows of a flow that names its source port, when the flow is over: only such a tuple comes again. Of
/// other queries the lab has conntrack forget the entry. And what it knows of a connection that is held; `turns` is where
/// the proxies stood before the flow.
pub(super) fn remember(file: &LabFile, window: &Window, turns: &Turns, memory: &mut Memory) {
    let Some(flow) = file.topology.flow(&window.flow) else {
        return;
    };
    let named = flow.connection.source_port;
    let mut connections: BTreeMap<String, Vec<Remembered>> = BTreeMap::new();
    for (pod, entries) in &window.conntrack {
        for entry in entries {
            let known = Remembered {
                transport: entry.transport,
                zone: entry.zone.unwrap_or(0),
                src: entry.original.src,
                dst: entry.original.dst,
                answers_from: entry.reply.src,
            };
            match entry.transport {
                Transport::Udp if Some(known.src.port()) == named => memory.remember(pod, known),
                Transport::Udp => {}
                Transport::Tcp => connections.entry(pod.clone()).or_default().push(known),
            }
        }
    }
    match (&flow.connection.hold, &flow.connection.resume) {
        (Some(name), _) => memory.hold(name, turns.clone(), connections),
        (None, Some(name)) => memory.taken_up(name, connections),
        (None, None) => {}
    }
}

/// What conntrack no longer knows after a step.
pub(super) fn forget(file: &LabFile, taken: &Taken, memory: &mut Memory) {
    let steps = &file.topology.steps;
    let step = steps.iter().find(|it| it.name == taken.step);
    if let Some(Action::Flush { pod }) = step.map(|it| &it.action) {
        memory.forget(pod);
    }
}

fn held(pod: &PodUp, family: Family) -> Result<Option<RuleSet>, Failure> {
    let origin = format!("the rules of {} in the evidence", pod.name);
    let set = pod.rules.rules(family, &origin);
    set.map_err(|bad| Failure::new(Class::Input, bad.to_string()))
}

impl Judgement {
    /// This judgement with that of the next stretch behind it.
    pub(super) fn followed_by(mut self, next: Self) -> Self {
        self.verdict = self.verdict.max(next.verdict);
        for family in next.families {
            if !self.families.contains(&family) {
                self.families.push(family);
            }
        }
        let changes = next.rule_changes.into_iter();
        for change in changes {
            if !self.rule_changes.contains(&change) {
                self.rule_changes.push(change);
            }
        }
        self.flows.extend(next.flows);
        self.run.extend(next.run);
        self.agreement = [self.agreement, next.agreement].into_iter().sum();
        self.hops = [self.hops, next.hops].into_iter().sum();
        self.traced += next.traced;
        self.notes = self.notes.or(next.notes);
        self
    }

    /// Claims about a step go before those about the stretch behind it.
    pub(super) fn after_step(mut self, claims: Vec<Claim>, number: usize) -> Self {
        let worst = claims.iter().map(Claim::verdict).max();
        self.verdict = self.verdict.max(worst.unwrap_or(Verdict::Holds));
        for claim in &mut self.run {
            claim.text = format!("after step {number}: {}", claim.text);
        }
        self.run.splice(0..0, claims);
        self
    }
}

/// The parts of a run, each with the lab as it stood.
pub(crate) fn stretches(
    file: &LabFile,
    evidence: &Evidence,
) -> Result<Vec<(LabFile, Evidence)>, Failure> {
    let parts = evidence.stretches().into_iter().enumerate();
    parts
        .map(|(steps, part)| Ok((file.after(steps)?, part)))
        .collect()
}
