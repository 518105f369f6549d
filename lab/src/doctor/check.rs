//! One thing tried, what came of it, and what depends on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Class, Failure},
    netfilter::Backend,
    rules::Family,
};

/// One thing tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name for programs, in kebab-case: `nft-ipv4-uid-owner`.
    pub id: String,
    /// Heading it stands under.
    pub group: String,
    /// What was tried, in words.
    pub tried: String,
    /// What can't be without it.
    pub needed_by: NeededBy,
    /// What came of it.
    pub outcome: Outcome,
}

/// What can't be without the thing tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeededBy {
    /// Every lab.
    EveryLab,
    /// Every lab of an ordinary user; root does without.
    OrdinaryUser,
    /// Labs that run this backend.
    Backend(Backend),
    /// IPv6 flows in labs that run this backend.
    Ipv6With(Backend),
    /// Labs under rules of native nft, and reading such rules from a process; no lab of iptables.
    NativeNft,
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It works.
    Works {
        /// What was seen; may be empty.
        detail: String,
    },
    /// It does not.
    Problem(Problem),
    /// It could not be tried.
    Skipped {
        /// Id of the check that has to work first.
        because: String,
    },
}

/// Why something does not work, what follows from that, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is missing or refused.
    pub what: String,
    /// Why, outermost cause first.
    pub because: Vec<String>,
    /// What follows for labs.
    pub what_follows: String,
    /// How to fix it.
    pub fix: String,
}

impl NeededBy {
    /// True when a lab with this backend and family can't be without it.
    pub fn concerns(self, backend: Backend, family: Family) -> bool {
        match self {
            Self::EveryLab | Self::OrdinaryUser => true,
            Self::Backend(b) => b == backend,
            Self::Ipv6With(b) => b == backend && family == Family::V6,
            Self::NativeNft => false,
        }
    }

    fn what_follows(self) -> String {
        match self {
            Self::EveryLab => "no lab can run here".into(),
            Self::OrdinaryUser => "no lab can run here without root".into(),
            Self::Backend(backend) => format!("no lab can run here with the {backend} backend"),
            Self::Ipv6With(backend) => {
                format!("no flow can run here over IPv6 with the {backend} backend")
            }
            Self::NativeNft => {
                "no lab can run here with native nft; those of iptables do without".into()
            }
        }
    }
}

impl Check {
    /// True when it was tried and works.
    pub fn works(&self) -> bool {
        matches!(self.outcome, Outcome::Works { .. })
    }

    /// The problem, if there is one.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.outcome {
            Outcome::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

impl Problem {
    /// A problem out of an error; `fix` is for errors that know no repair of their own.
    pub(super) fn new(failure: Failure, needed_by: NeededBy, fix: &str) -> Self {
        let mut lines = failure.what.splitn(2, '\n');
        let what = lines.next().unwrap_or_default().to_string();
        let because = lines.map(str::to_string).chain(failure.causes).collect();
        Self {
            what,
            because,
            what_follows: needed_by.what_follows(),
            fix: failure.hint.unwrap_or_else(|| fix.to_string()),
        }
    }

    /// The same as an error that ends a verb: what `run` says when it can't start.
    pub fn to_failure(&self) -> Failure {
        let what = format!("{}, so {}", self.what, self.what_follows);
        let mut failure = Failure::new(Class::Machine, what).hint(&self.fix);
        failure.causes.clone_from(&self.because);
        failure
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_failure().fmt(f)
    }
}
