//! Whether flows notice a mistake: killed, equivalent, survived.

use std::collections::BTreeSet;

use serde::Serialize;

use super::choice::{Told, told};
use super::compare::{Disagreement, Ran};
use super::course::course;
use super::flow::Flow;
use super::mutant::Mutant;
use super::stage::Stage;
use super::subject::Subject;
use crate::rules::Family;

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
    /// A flow of a lab file is not as the file says any more.
    KilledByLab(NoticedByLab),
    /// No lab file notices; a flow that is derived from the rules does.
    Missed {
        /// The first that does.
        by: Flow,
        /// Under the whole set.
        was: String,
        /// Under the mutant.
        is: String,
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

/// The first flow of a lab file that other rules make another one of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticedByLab {
    /// Path of the lab file.
    pub lab: String,
    /// Family it ran over.
    pub family: Family,
    /// Name of the flow; none where the flows hold and a claim about the whole run does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// The verdict on it: refuted or unproven.
    pub verdict: String,
    /// The first witness that says so.
    pub why: String,
    /// Connections that its processes opened, or tried to.
    pub connections: usize,
    /// Connections that a proxy refused, since it had opened them itself: the rules loop.
    pub loops: usize,
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
    /// Mutants that a flow noticed, one of a lab file where these are the suite.
    pub killed: usize,
    /// Mutants that do the same as the whole set.
    pub equivalent: usize,
    /// Mutants that a derived flow noticed, and no lab file did.
    pub missed: usize,
    /// Killed mutants whose rules led a proxy's connections back to it.
    pub loops: usize,
    /// Mutants that nobody noticed.
    pub survived: usize,
    /// Mutants nobody can tell of.
    pub undecided: usize,
    /// Mutants that are refused.
    pub refused: usize,
    /// Mutants that the scored probe noticed.
    pub probe: usize,
}

impl Judged {
    /// The same where lab files are the suite, and none of them noticed.
    #[must_use]
    pub fn missed_by_labs(mut self) -> Self {
        if let Fate::Killed { by, was, is, .. } = self.fate {
            self.fate = Fate::Missed { by, was, is };
        }
        self
    }
}

impl Score {
    /// Counts.
    pub fn of(judged: &[Judged]) -> Self {
        let mut score = Self::default();
        for one in judged {
            let count = match one.fate {
                Fate::Killed { .. } | Fate::KilledByLab(_) => &mut score.killed,
                Fate::Missed { .. } => &mut score.missed,
                Fate::Equivalent { .. } => &mut score.equivalent,
                Fate::Survived { .. } => &mut score.survived,
                Fate::Undecided { .. } => &mut score.undecided,
                Fate::Refused { .. } => &mut score.refused,
            };
            *count += 1;
            let loops = matches!(&one.fate, Fate::KilledByLab(it) if it.loops > 0);
            score.loops += usize::from(loops);
            score.probe += usize::from(one.probe_noticed == Some(true));
        }
        score
    }
}

/// What the model expects of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A flow of the suite is treated otherwise.
    Noticed,
    /// None of the suite is; this one would be.
    ToldBy(Flow),
    /// No flow is.
    Alike {
        /// How many flows the model was asked about.
        asked: usize,
        /// Of how many kinds.
        kinds: usize,
    },
    /// The model cannot tell.
    Open(String),
}

/// What the model expects of a mutant, when these flows run.
pub fn expected(whole: &Subject, mutant: &Mutant, stage: &Stage, flows: &[Flow]) -> Expected {
    // A family without the mistake has nothing to tell.
    let families = mutant.families();
    let whole = whole.clone().only(&families);
    let broken = whole.with_rules(mutant.to_string(), mutant.sets.clone());
    let of_family = flows.iter().filter(|it| families.contains(&it.family()));
    let mut differ = of_family.filter(|flow| {
        let (was, is) = (course(&whole, stage, flow), course(&broken, stage, flow));
        was.is_known() && is.is_known() && !was.behaves_as(&is)
    });
    if differ.next().is_some() {
        return Expected::Noticed;
    }
    match told(&whole, &broken, stage) {
        Told::Apart(flow) => Expected::ToldBy(flow),
        Told::Alike { asked, kinds } => Expected::Alike { asked, kinds },
        Told::Open(why) => Expected::Open(why),
    }
}

/// A suite with the flows it lacks: one for each mutant that none of its flows would notice and another one would.
pub fn completed(suite: &[Flow], expected: &[Expected]) -> Vec<Flow> {
    let mut flows = suite.to_vec();
    let mut known: BTreeSet<Flow> = flows.iter().cloned().collect();
    for it in expected {
        if let Expected::ToldBy(flow) = it
            && known.insert(flow.clone())
        {
            flows.push(flow.clone());
        }
    }
    flows
}

/// Judges a mutant by what ran under the whole set and under it, flow by flow.
pub fn judge(
    mutant: &Mutant,
    expected: &Expected,
    flows: &[Flow],
    ran: (&[Ran], &[Ran]),
) -> Judged {
    let each = || flows.iter().zip(ran.0.iter().zip(ran.1));
    let mut noticed = each().filter(|(_, (was, is))| !was.behaves_as(is));
    let fate = match (noticed.next(), expected) {
        (Some((flow, (was, is))), _) => Fate::Killed {
            by: flow.clone(),
            was: was.seen.end.to_string(),
            is: is.seen.end.to_string(),
            flows: 1 + noticed.count(),
        },
        (None, Expected::ToldBy(flow)) => Fate::Survived {
            told_by: flow.clone(),
        },
        (None, Expected::Alike { asked, kinds }) => Fate::Equivalent {
            asked: *asked,
            kinds: *kinds,
        },
        (None, Expected::Open(why)) => Fate::Undecided { why: why.clone() },
        (None, Expected::Noticed) => Fate::Undecided {
            why: "the model says that a flow of the suite would tell, and none did".to_owned(),
        },
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
