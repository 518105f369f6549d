//! Holds the evidence against what a person expects and what the model predicts. Pure: works on any machine.
//!
//! Three opinions meet here: the lab file (a person), the model (the rules), the evidence (the kernel). Every claim
//! lists its witnesses; a verdict is [`Verdict::Holds`] only when two independent ones agree. Under rules that the lab
//! file was not written for ([`Expect::Rules`]), what is expected is what the model reads from the rules that were
//! meant, and the person is no witness.

mod agreement;
mod claim;
pub(crate) mod connections;
mod expected;
mod flow;
mod gaps;
mod hops;
mod leg;
pub(crate) mod matching;
mod notes;
mod packets;
mod pods;
mod resumed;
mod rule_sets;
mod seen;
pub(crate) mod steps;
mod totals;
pub(crate) mod traces;
mod tracing;

use std::collections::BTreeMap;

use serde::Serialize;

pub use agreement::Agreement;
pub use claim::{Check, Claim, Finding, Verdict, Witness};
pub use expected::{unexpected, unexpected_of_run, wanted};
pub use flow::FlowVerdict;
pub(crate) use flow::{answer_words, picked};
pub use hops::Hops;
pub use notes::{NotesVerdict, Part, Reading, Step, TableRow};

use agreement::Predicted;
pub(crate) use rule_sets::{RuleSets, held_by_pod};

use crate::{
    evidence::{Cut, Evidence},
    failure::{Class, Failure},
    interception::Interception,
    lab_file::{Expect, LabFile},
    predict::{Memory, Turns, World},
    rules::{Family, RuleSet},
    topology::Topology,
    traced::Tracing,
};

/// The verdict on a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Worst of all that follows.
    pub verdict: Verdict,
    /// What the flows were judged by.
    pub expect: Expect,
    /// Families the flows ran over, in that order.
    pub families: Vec<Family>,
    /// How the rules in the pods differ from those that were meant, in words; expectations name the latter.
    pub rule_changes: Vec<String>,
    /// Flows, in the order they ran.
    pub flows: Vec<FlowVerdict>,
    /// Claims about the whole run.
    pub run: Vec<Claim>,
    /// Rules whose moves the model predicted from the rules in the pods, over all flows.
    pub agreement: Agreement,
    /// How many kinds of witnesses each connection has, over all flows.
    pub hops: Hops,
    /// Packets that were traced, over all flows and pods.
    pub traced: usize,
    /// The notes under test, where the lab file has some and their flows ran under its own rules.
    pub notes: Option<NotesVerdict>,
}

impl Judgement {
    /// The name of a flow, with its family where flows ran over two: `app-to-own-ip (IPv6)`.
    pub fn name_of(&self, flow: &FlowVerdict) -> String {
        match self.families.len() {
            0 | 1 => flow.flow.clone(),
            _ => format!("{} ({})", flow.flow, flow.family),
        }
    }
}

/// What the judge works with beside the window at hand: one family's rules.
pub(crate) struct Case<'a> {
    pub topology: &'a Topology,
    pub interception: &'a Interception,
    pub expect: Expect,
    /// The lab's rules.
    pub rules: RuleSets,
    /// Those of the pods that have rules of their own, or hold others than the rest, and how these intercept.
    pub own: BTreeMap<&'a str, (RuleSets, &'a Interception)>,
    pub family: Family,
    /// What was traced in the pods.
    pub tracing: Tracing,
}

/// Judges the evidence of a run of a lab.
///
/// # Errors
/// The evidence is of another lab, holds no flow though it is whole, or holds rules that can't be read.
pub fn judge(file: &LabFile, evidence: &Evidence) -> Result<Judgement, Failure> {
    if evidence.windows.is_empty() && evidence.cut.is_none() {
        return Err(Failure::new(Class::Input, "the evidence holds no flow"));
    }
    let mut turns = Turns::default();
    let mut memory = Memory::default();
    if evidence.steps.is_empty() {
        return judge_stretch(file, evidence, &mut turns, &mut memory);
    }
    let mut whole: Option<Judgement> = None;
    let mut before = &evidence.up.pods;
    for (number, (now, part)) in steps::stretches(file, evidence)?.iter().enumerate() {
        let taken = number.checked_sub(1).map(|it| &evidence.steps[it]);
        if let Some(taken) = taken {
            steps::forget(file, taken, &mut memory);
        }
        let judged = judge_stretch(now, part, &mut turns, &mut memory)?;
        let judged = match taken {
            None => judged,
            Some(taken) => judged.after_step(steps::claims(now, taken, before)?, number),
        };
        before = taken.map_or(before, |it| &it.pods);
        whole = Some(match whole {
            None => judged,
            Some(whole) => whole.followed_by(judged),
        });
    }
    // There is a stretch before the first step.
    whole.ok_or_else(|| Failure::new(Class::Input, "the evidence holds no flow"))
}

/// Judges flows between which no step was taken; `turns` is where the proxies stand before the first.
fn judge_stretch(
    file: &LabFile,
    evidence: &Evidence,
    turns: &mut Turns,
    memory: &mut Memory,
) -> Result<Judgement, Failure> {
    let mut cases: Vec<Case> = Vec::new();
    let mut judged = Vec::new();
    for window in &evidence.windows {
        let at = match cases.iter().position(|c| c.family == window.family) {
            Some(at) => at,
            None => {
                cases.push(Case::new(file, evidence, window.family)?);
                cases.len() - 1
            }
        };
        judged.push(cases[at].flow(window, turns, memory)?);
        steps::remember(file, window, turns, memory);
        turns.observe(&cases[at].meant(), &window.records);
    }
    let (flows, predicted): (Vec<FlowVerdict>, Vec<Predicted>) = judged.into_iter().unzip();
    let mut run: Vec<Claim> = evidence.cut.iter().map(cut_claim).collect();
    if evidence.cut.as_ref().is_none_or(|cut| cut.totals) {
        run.extend(totals::claims(evidence, &predicted)?);
    }
    let notes = match (file.expect, cases.first()) {
        (Expect::File, Some(first)) => notes::judge(first, evidence, &flows, &predicted),
        // The notes are about the lab's own rules.
        _ => None,
    };
    let verdict = flows
        .iter()
        .map(|f| f.verdict)
        .chain(run.iter().map(Claim::verdict))
        .chain(notes.iter().map(|n| n.verdict))
        .max()
        // A stretch without flows and rules has nothing to say; a run without flows is refused before.
        .unwrap_or(Verdict::Holds);
    let differences = cases.iter().flat_map(|case| {
        let family = (cases.len() > 1).then(|| format!("{}: ", case.family));
        let family = family.unwrap_or_default();
        let mut words = Vec::new();
        for change in case.rules.changes() {
            words.push(format!("{family}{change}"));
        }
        for (pod, (sets, _)) in &case.own {
            for change in sets.changes() {
                words.push(format!("{family}{pod}: {change}"));
            }
        }
        words
    });
    let rule_changes = differences.collect();
    Ok(Judgement {
        verdict,
        expect: file.expect,
        families: cases.iter().map(|c| c.family).collect(),
        rule_changes,
        agreement: flows.iter().map(|f| f.agreement).sum(),
        hops: flows.iter().map(|f| f.hops).sum(),
        traced: flows.iter().map(|f| f.traced).sum(),
        flows,
        run,
        notes,
    })
}

/// What was not written down can't be judged, whatever the rest says.
fn cut_claim(cut: &Cut) -> Claim {
    let missing = Check::missing(Witness::File, format!("the rest: {cut}"));
    Claim::new("the evidence goes to the end of the run", vec![missing])
}

impl<'a> Case<'a> {
    /// The rules of a family: those that were meant, and those the evidence says the pods held.
    ///
    /// # Errors
    /// Rules that can't be read.
    pub(crate) fn new(
        file: &'a LabFile,
        evidence: &Evidence,
        family: Family,
    ) -> Result<Self, Failure> {
        let mut own = BTreeMap::new();
        for (pod, rules) in file.own() {
            let held = evidence.up.pods.iter().find(|it| it.name == *pod);
            let reference = file.reference_of(rules, family)?;
            let sets = RuleSets::new(reference, rule_sets::held(held, family)?);
            own.insert(pod.as_str(), (sets, &rules.interception));
        }
        let pods = evidence.up.pods.iter();
        let mut others =
            pods.filter(|pod| !pod.rules.is_empty() && !file.own().contains_key(&pod.name));
        let first = others.next();
        let usual = rule_sets::held(first, family)?;
        let print = usual.fingerprint();
        let rules = RuleSets::new(file.reference(family)?, usual);
        // A command may have given one of them other rules since.
        // The same text is the same rules; a listing of nft has counters in it, too.
        for pod in others.filter(|pod| first.is_some_and(|first| first.rules != pod.rules)) {
            let held = rule_sets::held(Some(pod), family)?;
            let known = file.topology.pod(&pod.name);
            if let Some(known) = known.filter(|_| held.fingerprint() != print) {
                let sets = RuleSets::new(rules.reference.clone(), held);
                own.insert(known.name.as_str(), (sets, &file.interception));
            }
        }
        Ok(Self {
            topology: &file.topology,
            interception: &file.interception,
            expect: file.expect,
            rules,
            own,
            family,
            tracing: evidence.up.tracing,
        })
    }

    /// The rules of a pod.
    pub(crate) fn rules_of(&self, pod: &str) -> &RuleSets {
        self.own.get(pod).map_or(&self.rules, |(sets, _)| sets)
    }

    /// How the sidecar of a pod intercepts.
    pub(crate) fn interception_of(&self, pod: &str) -> &Interception {
        self.own.get(pod).map_or(self.interception, |(_, it)| it)
    }

    /// The lab under the rules that were meant.
    pub(crate) fn meant(&self) -> World<'_> {
        self.world(|sets| &sets.reference)
    }

    /// The lab under the rules the kernel holds.
    pub(crate) fn held(&self) -> World<'_> {
        self.world(|sets| &sets.applied)
    }

    fn world(&self, of: impl Fn(&RuleSets) -> &RuleSet) -> World<'_> {
        let own = self.own.iter();
        World::new(self.topology, of(&self.rules), self.interception)
            .with_own(own.map(|(pod, (sets, it))| (*pod, of(sets), *it)))
    }
}
