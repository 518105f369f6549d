//! Holds the evidence against what a person expects and what the model predicts. Pure: works on any machine.
//!
//! Three opinions meet here: the lab file (a person), the model (the rules), the evidence (the kernel). Every claim
//! lists its witnesses; a verdict is [`Verdict::Holds`] only when two independent ones agree.

mod claim;
mod connections;
mod flow;
mod leg;
mod matching;
mod notes;
mod pods;
mod totals;

use serde::Serialize;

pub use claim::{Check, Claim, Finding, Verdict, Witness};
pub use flow::FlowVerdict;
pub use notes::{NotesVerdict, Part, Reading, Step, TableRow};

use crate::{
    evidence::Evidence,
    failure::{Class, Failure},
    lab_file::LabFile,
    predict::Turns,
    rules::{self, Alignment, Family, RuleSet, Table},
    topology::Topology,
};

/// The verdict on a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Worst of all that follows.
    pub verdict: Verdict,
    /// How the rules in the pods differ from the lab's own, in words; expectations name the lab's own.
    pub rule_changes: Vec<String>,
    /// Flows, in the order they ran.
    pub flows: Vec<FlowVerdict>,
    /// Claims about the whole run.
    pub run: Vec<Claim>,
    /// The notes under test, where the lab file has some and their flows ran.
    pub notes: Option<NotesVerdict>,
}

/// What the judge works with beside the window at hand.
pub(crate) struct Case<'a> {
    pub topology: &'a Topology,
    /// The lab's own rules, which expectations name.
    pub reference: RuleSet,
    /// The rules the kernel holds.
    pub applied: RuleSet,
    pub alignment: Alignment,
    pub family: Family,
}

/// Judges the evidence of a run of a lab.
///
/// # Errors
/// The evidence is of another lab, or holds rules that can't be read.
pub fn judge(file: &LabFile, evidence: &Evidence) -> Result<Judgement, Failure> {
    let Some(family) = evidence.windows.first().map(|w| w.family) else {
        return Err(Failure::new(Class::Input, "the evidence holds no flow"));
    };
    let case = Case::new(file, evidence, family)?;
    let mut turns = Turns::default();
    let mut flows = Vec::new();
    for window in &evidence.windows {
        flows.push(case.flow(window, &turns)?);
        turns.observe(case.topology, family, &window.records);
    }
    let run = totals::claims(&case, evidence);
    let notes = notes::judge(&case, evidence, &flows);
    let verdict = flows
        .iter()
        .map(|f| f.verdict)
        .chain(run.iter().map(Claim::verdict))
        .chain(notes.iter().map(|n| n.verdict))
        .max()
        .unwrap_or(Verdict::Unproven);
    let differences = rules::diff(&case.reference, &case.applied, &Table::ALL);
    Ok(Judgement {
        verdict,
        rule_changes: differences.iter().map(ToString::to_string).collect(),
        flows,
        run,
        notes,
    })
}

impl<'a> Case<'a> {
    fn new(file: &'a LabFile, evidence: &Evidence, family: Family) -> Result<Self, Failure> {
        let reference = file.reference(family)?;
        let text = evidence
            .up
            .pods
            .iter()
            .find_map(|pod| pod.rules.get(&family));
        // A lab without a sidecar has no rules anywhere.
        let applied = match text {
            Some(text) => rules::parse(text, family, "the rules in the evidence")
                .map_err(|e| Failure::new(Class::Input, e.to_string()))?,
            None => RuleSet::empty(family),
        };
        Ok(Self {
            topology: &file.topology,
            alignment: rules::align(&reference, &applied),
            reference,
            applied,
            family,
        })
    }
}
