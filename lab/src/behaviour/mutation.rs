//! Whether flows notice a mistake: killed, equivalent, survived.

use serde::Serialize;

use super::choice::{Sampling, choose};
use super::compare::{Disagreement, Ran};
use super::course::course;
use super::flow::Flow;
use super::mutant::Mutant;
use super::stage::Stage;
use super::subject::Subject;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// A flow of the suite ran otherwise than under the whole set.
    Killed {
        /// The first that did.
        by: Flow,
        /// Under the whole set.
        was: String,
        /// Under the mutant.
        is: String,
        /// How many did.
        flows: usize,
    },
    /// The model finds no flow that the mutant treats otherwise.
    Equivalent {
        /// How many flows it was asked about.
        asked: usize,
        /// Of how many kinds.
        kinds: usize,
    },
    /// The model knows a flow that would tell, and the suite has none.
    Survived {
        /// The flow that would tell.
        told_by: Flow,
    },
    /// Neither a flow nor the model tells.
    Undecided {
        /// Why the model does not.
        why: String,
    },
    /// The kernel or its tools refuse the rules: nobody could make this mistake and not see it.
    Refused {
        /// Their words.
        words: String,
    },
}

/// A mutant and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The mutant in words.
    pub mutant: String,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
    /// Whether the probe that is scored beside noticed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_noticed: Option<bool>,
    /// Where model and kernel do not say the same of the mutant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<Disagreement>,
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Mutants that a flow noticed.
    pub killed: usize,
    /// Mutants that do the same as the whole set.
    pub equivalent: usize,
    /// Mutants that nobody noticed.
    pub survived: usize,
    /// Mutants nobody can tell of.
    pub undecided: usize,
    /// Mutants that are refused.
    pub refused: usize,
    /// Mutants that the scored probe noticed.
    pub probe: usize,
}

impl Score {
    /// Counts.
    pub fn of(judged: &[Judged]) -> Self {
        let mut score = Self::default();
        for one in judged {
            let count = match one.fate {
                Fate::Killed { .. } => &mut score.killed,
                Fate::Equivalent { .. } => &mut score.equivalent,
                Fate::Survived { .. } => &mut score.survived,
                Fate::Undecided { .. } => &mut score.undecided,
                Fate::Refused { .. } => &mut score.refused,
            };
            *count += 1;
            score.probe += usize::from(one.probe_noticed == Some(true));
        }
        score
    }
}

/// Judges a mutant by what ran under the whole set and under it, flow by flow.
pub fn judge(
    whole: &Subject,
    mutant: &Mutant,
    stage: &Stage,
    flows: &[Flow],
    ran: (&[Ran], &[Ran]),
) -> Judged {
    let broken = whole.with_rules(mutant.to_string(), mutant.set.clone());
    let each = || flows.iter().zip(ran.0.iter().zip(ran.1));
    let mut noticed = each().filter(|(_, (was, is))| !was.behaves_as(is));
    let fate = match noticed.next() {
        Some((flow, (was, is))) => Fate::Killed {
            by: flow.clone(),
            was: was.seen.end.to_string(),
            is: is.seen.end.to_string(),
            flows: 1 + noticed.count(),
        },
        None => unnoticed(whole, &broken, stage),
    };
    let disagreements = each().filter_map(|(flow, (_, is))| {
        let (model, kernel) = is.disagreement()?;
        Some(Disagreement {
            flow: flow.clone(),
            set: mutant.to_string(),
            model,
            kernel,
        })
    });
    Judged {
        mutant: mutant.to_string(),
        fate,
        probe_noticed: None,
        disagreements: disagreements.collect(),
    }
}

/// Asks the model about every flow that could tell the two apart.
fn unnoticed(whole: &Subject, broken: &Subject, stage: &Stage) -> Fate {
    let none = Sampling { flows: 0, seed: 0 };
    let Some(choice) = choose(&[whole, broken], stage, none) else {
        let why = "the rules name too much to try it all".to_owned();
        return Fate::Undecided { why };
    };
    for flow in &choice.flows {
        let (was, is) = (course(whole, stage, flow), course(broken, stage, flow));
        if !(was.is_known() && is.is_known()) {
            return Fate::Undecided {
                why: format!("the model cannot tell what becomes of {flow}"),
            };
        }
        if !was.behaves_as(&is) {
            return Fate::Survived {
                told_by: flow.clone(),
            };
        }
    }
    Fate::Equivalent {
        asked: choice.asked,
        kinds: choice.kinds,
    }
}
