//! Two sets, flow by flow: what the model says under each, what the kernel did under each, and what of it differs.

use std::fmt;

use serde::Serialize;

use super::changes::Change;
use super::choice::all_told;
use super::course::{Course, End, Hop, Place};
use super::flow::Flow;
use super::pattern::Pattern;
use super::seen::{Seen, SeenEnd};
use super::stage::Stage;
use super::subject::Subject;
use crate::model::Hook;
use crate::rules::{RuleId, spec_text};

/// A flow under one set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// What the model says.
    pub course: Course,
    /// What the kernel did.
    pub seen: Seen,
}

/// Two sets compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Flows that ran under both.
    pub flows: usize,
    /// What differs, shortest explanation first.
    pub groups: Vec<Group>,
    /// Where model and kernel are of two minds.
    pub disagreements: Vec<Disagreement>,
}

/// Flows that differ in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What they have in common: the difference as one flow.
    pub pattern: Pattern,
    /// The first of them, explained.
    pub shown: Difference,
    /// The others.
    pub others: Vec<Flow>,
}

/// A flow that two sets treat differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The flow.
    pub flow: Flow,
    /// Under the first set.
    pub a: Explained,
    /// Under the second set.
    pub b: Explained,
}

/// What became of a flow, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The rules it met, hook by hook.
    pub hops: Vec<Hop>,
    /// What they changed.
    pub changes: Vec<Change>,
    /// Where the kernel took it.
    pub end: SeenEnd,
    /// The rule that explains it best, held against the other side; none when no rule matched where the two part.
    pub decided: Option<Decided>,
}

/// A rule with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The rule.
    pub rule: RuleId,
    /// As `iptables-save` prints it.
    pub text: String,
}

/// A flow of which the model and the kernel do not say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The flow.
    pub flow: Flow,
    /// The set.
    pub set: String,
    /// What the model says.
    pub model: String,
    /// What the kernel did.
    pub kernel: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flow,
            set,
            model,
            kernel,
        } = self;
        write!(
            f,
            "{flow} under {set}\n  model:  {model}\n  kernel: {kernel}"
        )
    }
}

impl Ran {
    /// What model and kernel say differently, in words; none where they agree, or where the model cannot tell.
    pub fn disagreement(&self) -> Option<(String, String)> {
        let Self { course, seen } = self;
        let (meant, met) = (route(&course.hops), route(&seen.hops));
        if course.is_known() && meant != met {
            return Some((meant, met));
        }
        (!ends_agree(&course.end, &seen.end))
            .then(|| (course.end.to_string(), seen.end.to_string()))
    }

    /// Whether the kernel, and the model where it can tell, treat the flow alike in both.
    pub fn behaves_as(&self, other: &Self) -> bool {
        let known = self.course.is_known() && other.course.is_known();
        (!known || self.course.behaves_as(&other.course))
            && same_end(&self.seen.end, &other.seen.end)
    }
}

/// Whether a kernel's end is the one the model says.
fn ends_agree(model: &End, kernel: &SeenEnd) -> bool {
    match (model, kernel) {
        (End::Unknown { .. }, _) => true,
        (End::Reached(meant), SeenEnd::Reached(found)) => {
            let unknown = meant.original.is_none() || found.original.is_none();
            let original = unknown || meant.original == found.original;
            original
                && (meant.place, meant.port, meant.local) == (found.place, found.port, found.local)
        }
        (End::Dropped, SeenEnd::Dropped { .. } | SeenEnd::NotSent { .. })
        | (End::Rejected { .. }, SeenEnd::Refused { .. } | SeenEnd::NotSent { .. })
        | (End::Unanswered { .. }, SeenEnd::Silent { .. } | SeenEnd::Refused { .. }) => true,
        _ => false,
    }
}

/// Whether two kernels took a flow to the same end, whatever rule decided it.
fn same_end(one: &SeenEnd, other: &SeenEnd) -> bool {
    match (one, other) {
        (SeenEnd::Dropped { .. }, SeenEnd::Dropped { .. }) => true,
        _ => one == other,
    }
}

/// The rules of a way in one line: `OUTPUT: nat OUTPUT 1, nat ISTIO_OUTPUT 4; POSTROUTING: …`. Hooks where no rule
/// matched are left out: which of them the kernel reports depends on who watches.
fn route(hops: &[Hop]) -> String {
    let met = hops.iter().filter(|hop| !hop.rules.is_empty());
    let words = met.map(|hop| {
        let rules: Vec<String> = hop.rules.iter().map(ToString::to_string).collect();
        format!("{}: {}", hop.hook, rules.join(", "))
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "no rule matched".to_owned(),
        false => words.join("; "),
    }
}

/// Holds what ran under one set against what ran under the other.
pub fn compare(
    a: &Subject,
    b: &Subject,
    stage: &Stage,
    flows: &[Flow],
    ran: &[(Ran, Ran)],
) -> Comparison {
    let mut disagreements = Vec::new();
    let mut differences = Vec::new();
    for (flow, (of_a, of_b)) in flows.iter().zip(ran) {
        for (subject, one) in [(a, of_a), (b, of_b)] {
            disagreements.extend(one.disagreement().map(|(model, kernel)| Disagreement {
                flow: flow.clone(),
                set: subject.name.clone(),
                model,
                kernel,
            }));
        }
        if !of_a.behaves_as(of_b) {
            differences.push(difference(flow, (a, of_a), (b, of_b)));
        }
    }
    let told = match differences.is_empty() {
        true => Vec::new(),
        false => all_told(a, b, stage),
    };
    Comparison {
        flows: ran.len(),
        groups: grouped(differences, stage, &told),
        disagreements,
    }
}

fn difference(flow: &Flow, a: (&Subject, &Ran), b: (&Subject, &Ran)) -> Difference {
    let hook = parting(&a.1.course, &b.1.course);
    let met = |ran: &Ran| -> Vec<RuleId> {
        let there = ran
            .seen
            .hops
            .iter()
            .filter(|hop| hook.is_none_or(|it| it == hop.hook));
        there.flat_map(|hop| hop.rules.clone()).collect()
    };
    let (of_a, of_b) = (met(a.1), met(b.1));
    let explained = |(subject, ran): (&Subject, &Ran), decided: Option<&RuleId>| Explained {
        hops: ran.seen.hops.clone(),
        changes: ran.course.changes.clone(),
        end: ran.seen.end.clone(),
        decided: decided.map(|rule| Decided {
            rule: rule.clone(),
            text: text_of(subject, rule),
        }),
    };
    Difference {
        flow: flow.clone(),
        a: explained(a, deciding((a.0, &of_a), (b.0, &of_b))),
        b: explained(b, deciding((b.0, &of_b), (a.0, &of_a))),
    }
}

/// The hook where two ways part; none when the rules do not tell.
fn parting(a: &Course, b: &Course) -> Option<Hook> {
    let longer = a.changes.len().max(b.changes.len());
    let differ = (0..longer).find(|at| a.changes.get(*at) != b.changes.get(*at))?;
    let hook = |course: &Course| course.changes.get(differ).map(|it| it.hook);
    match (hook(a), hook(b)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The rule that explains a way best, held against another: the first it does not share, unless that asks for nothing
/// and only leads on to another chain.
fn deciding<'a>(
    here: (&'a Subject, &'a [RuleId]),
    there: (&Subject, &[RuleId]),
) -> Option<&'a RuleId> {
    let spec =
        |subject: &'a Subject, id: &RuleId| subject.rules(id.family)?.rule(id).map(|it| &it.spec);
    let shared = here.1.iter().zip(there.1).take_while(|(one, other)| {
        match (
            spec(here.0, one),
            there.0.rules(other.family).and_then(|it| it.rule(other)),
        ) {
            (Some(one), Some(other)) => {
                let (target, others) = (&one.target, &other.spec.target);
                *one == other.spec || (target.chain().is_some() && target == others)
            }
            _ => false,
        }
    });
    let own = here.1.get(shared.count()..)?;
    let chooses = |id: &&RuleId| {
        spec(here.0, id).is_none_or(|it| {
            let asks = !it.matches.is_catch_all(it.matches.only_protocol());
            asks || it.target.chain().is_none()
        })
    };
    own.iter().find(chooses).or(own.last()).or(here.1.last())
}

fn text_of(subject: &Subject, rule: &RuleId) -> String {
    let found = subject.rules(rule.family).and_then(|set| set.rule(rule));
    found.map_or_else(String::new, |it| spec_text(&rule.chain, &it.spec))
}

/// Differences of the same kind together, those with the fewest rules to read first.
fn grouped(differences: Vec<Difference>, stage: &Stage, told: &[(Flow, bool)]) -> Vec<Group> {
    let mut alike: Vec<(Difference, Vec<Flow>)> = Vec::new();
    for difference in differences {
        let known = alike.iter_mut().find(|(it, _)| same_kind(it, &difference));
        match known {
            Some((_, others)) => others.push(difference.flow),
            None => alike.push((difference, Vec::new())),
        }
    }
    let group = |(shown, others): (Difference, Vec<Flow>)| {
        let flows: Vec<Flow> = [&shown.flow].into_iter().chain(&others).cloned().collect();
        Group {
            pattern: Pattern::of(&flows, stage, told),
            shown,
            others,
        }
    };
    let mut groups: Vec<Group> = alike.into_iter().map(group).collect();
    let length = |group: &Group| {
        let Difference { a, b, .. } = &group.shown;
        let rules = |it: &Explained| it.hops.iter().map(|hop| hop.rules.len()).sum::<usize>();
        rules(a) + rules(b)
    };
    groups.sort_by_key(length);
    groups
}

/// The same protocol and sender's side, decided by rules at the same places, with the same kind of end. Sets say the same
/// of both families mostly.
fn same_kind(one: &Difference, other: &Difference) -> bool {
    let place = |it: &Explained| {
        let rule = it.decided.as_ref().map(|it| &it.rule);
        rule.map(|it| (it.table, it.chain.clone(), it.ordinal))
    };
    let of = |it: &Difference| {
        (
            it.flow.protocol,
            it.flow.is_sent_by_pod(),
            place(&it.a),
            place(&it.b),
        )
    };
    // Which port was asked for makes no other kind; to which one it was turned does.
    let shape = |flow: &Flow, it: &SeenEnd| match it {
        SeenEnd::Reached(at) => {
            let turned = match at.place {
                Place::Pod => at
                    .original
                    .map_or(at.port != flow.to.port(), |it| it != at.local),
                Place::Outside => at.local != flow.to,
            };
            Some((at.place, turned.then_some(at.port)))
        }
        _ => None,
    };
    let ends = |it: &Difference| (shape(&it.flow, &it.a.end), shape(&it.flow, &it.b.end));
    let kinds = |one: &SeenEnd, other: &SeenEnd| {
        std::mem::discriminant(one) == std::mem::discriminant(other)
    };
    of(one) == of(other)
        && ends(one) == ends(other)
        && kinds(&one.a.end, &other.a.end)
        && kinds(&one.b.end, &other.b.end)
}
