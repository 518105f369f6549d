//! The fifteen steps and the counter table of the notes under test, judged against what the kernel did.
//!
//! A step is a list of parts, because a sentence can be right about one thing and wrong about another. Each part
//! has the verdict the kernel gave when this was written; another one, either way, fails the run.

mod call;
mod inbound;
mod reply;
mod scene;
mod table;
mod traced;

use serde::Serialize;

pub use table::TableRow;

use super::{Case, Claim, FlowVerdict, Verdict, agreement::Predicted, totals};
use crate::evidence::Evidence;
use scene::Scene;

/// The verdict on the notes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotesVerdict {
    /// Holds when every part has the verdict it is expected to have.
    pub verdict: Verdict,
    /// The steps, read twice.
    pub readings: Vec<Reading>,
    /// Final counters of one pod beside the rows of the notes' table.
    pub table: table::Table,
}

/// The steps in one reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// How the steps are read.
    pub title: String,
    /// Flow whose window was looked at.
    pub flow: String,
    /// Pod the steps are about.
    pub pod: String,
    /// Steps 1 to 15.
    pub steps: Vec<Step>,
}

/// One step of the notes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// 1 to 15.
    pub number: u8,
    /// What the notes say, in English.
    pub text: &'static str,
    /// Worst verdict of its parts.
    pub verdict: Verdict,
    /// Its parts.
    pub parts: Vec<Part>,
    /// What happens instead, where the notes are wrong.
    pub instead: Option<String>,
}

/// One assertion of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// The assertion and its witnesses.
    pub claim: Claim,
    /// What the witnesses say.
    pub verdict: Verdict,
    /// What they are expected to say.
    pub expected: Verdict,
    /// What was looked at, in words: rule and counter, log record, conntrack tuple.
    pub evidence: String,
}

impl Step {
    /// True when every part has the verdict it is expected to have.
    pub fn as_expected(&self) -> bool {
        self.parts.iter().all(|p| p.verdict == p.expected)
    }

    /// True when some parts hold and some are refuted.
    pub fn half_true(&self) -> bool {
        let any = |verdict| self.parts.iter().any(|p| p.verdict == verdict);
        any(Verdict::Holds) && any(Verdict::Refuted)
    }

    /// Where the flow itself is unproven, a part that differs from what is expected proves nothing: the record it
    /// counts on may be the one that is missing.
    fn doubt(&mut self) {
        for part in self.parts.iter_mut().filter(|p| p.verdict != p.expected) {
            part.verdict = Verdict::Unproven;
        }
        self.verdict = worst(&self.parts);
    }

    fn new(number: u8, text: &'static str, parts: Vec<Part>) -> Self {
        let verdict = worst(&parts);
        Self {
            number,
            text,
            verdict,
            parts,
            instead: None,
        }
    }

    fn instead(mut self, words: impl Into<String>) -> Self {
        self.instead = Some(words.into());
        self
    }
}

fn worst(parts: &[Part]) -> Verdict {
    let verdicts = parts.iter().map(|p| p.verdict);
    verdicts.max().unwrap_or(Verdict::Unproven)
}

impl Part {
    fn new(expected: Verdict, claim: Claim, evidence: impl Into<String>) -> Self {
        Self {
            verdict: claim.verdict(),
            claim,
            expected,
            evidence: evidence.into(),
        }
    }

    fn holds(claim: Claim, evidence: impl Into<String>) -> Self {
        Self::new(Verdict::Holds, claim, evidence)
    }

    fn refuted(claim: Claim, evidence: impl Into<String>) -> Self {
        Self::new(Verdict::Refuted, claim, evidence)
    }
}

/// None when the lab file has no notes, or not all of its flows ran over the case's family. `predicted` is what the
/// model says of each window of the run.
pub(super) fn judge(
    case: &Case,
    evidence: &Evidence,
    flows: &[FlowVerdict],
    predicted: &[Predicted],
) -> Option<NotesVerdict> {
    let notes = case.topology.notes.as_ref()?;
    let flows = || flows.iter().filter(|f| f.family == case.family);
    if flows().count() < case.topology.flows.len() {
        return None;
    }
    let reply = Scene::new(case, evidence, &notes.reply.flow, &notes.reply.pod)?;
    let call = Scene::new(case, evidence, &notes.call.flow, &notes.call.pod)?;
    let mut readings = vec![
        Reading {
            title: format!(
                "as worded: {} answers {}",
                notes.reply.pod, notes.reply.caller
            ),
            flow: notes.reply.flow.clone(),
            pod: notes.reply.pod.clone(),
            steps: [
                inbound::steps(&reply, &notes.reply.caller),
                reply::steps(&reply, &notes.reply.caller),
            ]
            .concat(),
        },
        Reading {
            title: format!(
                "as a new connection: {} calls {}",
                notes.call.pod, notes.call.callee
            ),
            flow: notes.call.flow.clone(),
            pod: notes.call.pod.clone(),
            steps: [
                inbound::steps(&call, &notes.call.caller),
                call::steps(&call, &notes.call.callee),
            ]
            .concat(),
        },
    ];
    for reading in &mut readings {
        let unproven = |f: &FlowVerdict| f.flow == reading.flow && f.verdict == Verdict::Unproven;
        if flows().any(unproven) {
            reading.steps.iter_mut().for_each(Step::doubt);
        }
    }
    let table = table::judge(
        case,
        &notes.table,
        evidence,
        &totals::predicted_alone(predicted, case.family, &notes.table),
    );
    let steps = readings.iter().flat_map(|r| &r.steps);
    let surprises = steps
        .flat_map(|s| &s.parts)
        .filter(|p| p.verdict != p.expected);
    let verdict = surprises
        .map(|p| match p.verdict {
            Verdict::Unproven => Verdict::Unproven,
            _ => Verdict::Refuted,
        })
        .chain([table.verdict])
        .max()
        .unwrap_or(Verdict::Unproven);
    Some(NotesVerdict {
        verdict,
        readings,
        table,
    })
}
