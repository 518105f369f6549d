//! What came of the cases of a suite, as data, and as text, Markdown, JUnit and annotations. Pure.
//!
//! A case is one lab file on one backend over one family, as it is or with something changed. Each of its flows has an
//! outcome: the verdict, the one that was expected, and where they differ what is known of the reason.

mod annotations;
mod build;
mod case;
mod figures;
mod junit;
mod markdown;
mod nearest;
mod partition;
mod rounds;
#[cfg(test)]
mod tests;
mod text;
mod trouble;

use serde::Serialize;

pub use annotations::github;
pub use build::{Detailed, of_judgement};
pub use case::{CaseName, Side};
pub use figures::Figures;
pub use junit::junit;
pub use markdown::markdown;
pub use partition::Partition;
pub use rounds::{Difference, differences};
pub use text::{failures, table, verdict_words};
pub use trouble::{HopAt, NearestRule, Trouble};

use crate::{
    failure::{Class, Failure},
    judge::Verdict,
    lab_file::LabFile,
    topology::{Flow, Target},
};

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseOutcome {
    /// Which.
    #[serde(flatten)]
    pub case: CaseName,
    /// None where the lab did not come up, or broke.
    pub verdict: Option<Verdict>,
    /// Each flow, in the order of the lab file. Where the lab did not come up, all that would have been sent.
    pub flows: Vec<FlowOutcome>,
    /// What came out otherwise than the file says; empty when all is as expected.
    pub unexpected: Vec<String>,
    /// Those of them that are about no flow.
    #[serde(skip)]
    pub of_run: Vec<String>,
    /// What kind of trouble kept the case from being judged.
    #[serde(skip)]
    pub broke: Option<Class>,
    /// Microseconds from start to end.
    pub took_us: u64,
}

/// What came of one flow.
#[derive(Debug, Clone, Serialize)]
pub struct FlowOutcome {
    /// Its name.
    pub flow: String,
    /// Line of the lab file where it begins, from 1; none where the file does not tell.
    pub line: Option<usize>,
    /// A pod to look at it from: the one it goes to, else the one it is sent from.
    pub pod: Option<String>,
    /// None where the lab did not come up, or broke before it was judged.
    pub verdict: Option<Verdict>,
    /// What its verdict is to be.
    pub wanted: Verdict,
    /// Microseconds from the first byte sent to the last record.
    pub took_us: u64,
    /// Its way, hop by hop, as text without colours; none where nobody asked for it.
    #[serde(skip)]
    pub hops: Option<String>,
    /// What is known of the reason, where it did not come out as expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

impl FlowOutcome {
    /// A flow that was not judged.
    pub fn unjudged(file: &LabFile, flow: &Flow, wanted: Verdict) -> Self {
        let target = match &flow.to {
            Target::Pod { pod, .. } => Some(pod),
            _ => None,
        };
        Self {
            flow: flow.name.clone(),
            line: file.line_of(&flow.name),
            pod: target.or(flow.from.pod.as_ref()).cloned(),
            verdict: None,
            wanted,
            took_us: 0,
            hops: None,
            trouble: None,
        }
    }

    /// Whether it came out as the lab file says.
    pub fn is_as_expected(&self) -> bool {
        self.verdict == Some(self.wanted)
    }
}

impl CaseOutcome {
    /// A case that could not be judged: `flows` are those that would have been sent.
    pub fn broken(
        case: CaseName,
        flows: Vec<FlowOutcome>,
        failure: &Failure,
        took_us: u64,
    ) -> Self {
        let words = failure.to_string();
        Self {
            case,
            verdict: None,
            flows,
            unexpected: vec![words.clone()],
            of_run: vec![words],
            broke: Some(failure.class),
            took_us,
        }
    }

    /// Whether all of it came out as the lab file says.
    pub fn is_as_expected(&self) -> bool {
        self.unexpected.is_empty()
    }
}
