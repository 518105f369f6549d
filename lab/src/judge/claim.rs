//! Claims, the witnesses that speak to them, and the verdict that follows.

use std::{collections::BTreeSet, fmt};

use hoplab_proxies::record::Role;
use serde::Serialize;

/// What is known about a claim. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At least two independent witnesses agree, none contradicts, none is missing.
    Holds,
    /// A witness is missing, or only one spoke.
    Unproven,
    /// A witness contradicts.
    Refuted,
}

/// Who speaks to a claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Witness {
    /// What the sender got.
    Answer,
    /// The connection log of a process.
    Log {
        /// Pod.
        pod: String,
        /// Role of the process.
        role: Role,
    },
    /// nat counters of a pod.
    Counters {
        /// Pod.
        pod: String,
    },
    /// conntrack of a pod.
    Conntrack {
        /// Pod.
        pod: String,
    },
    /// The rule-by-rule trace of packets in a pod.
    Trace {
        /// Pod.
        pod: String,
    },
    /// The model's prediction from the rules.
    Model,
    /// The evidence file, on itself.
    File,
    /// A program that ran for a step, by its exit.
    Command {
        /// Pod.
        pod: String,
    },
    /// The rules of a pod, read back after a step.
    Rules {
        /// Pod.
        pod: String,
    },
    /// The interfaces of a pod, read after a step.
    Interfaces {
        /// Pod.
        pod: String,
    },
}

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
pub enum Finding {
    /// It saw what the claim says.
    Agrees,
    /// It saw something else.
    Contradicts {
        /// What the claim says.
        wanted: String,
        /// What was seen.
        had: String,
    },
    /// It and another witness contradict each other, whatever the claim says.
    Disagrees {
        /// What it saw.
        had: String,
        /// The other one.
        with: Witness,
        /// What that one says.
        said: String,
    },
    /// It has nothing to say where it should have.
    Missing {
        /// What is missing, and why as far as known.
        what: String,
    },
}

/// One witness on one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Who.
    pub witness: Witness,
    /// What.
    #[serde(flatten)]
    pub finding: Finding,
}

/// A statement about a run, with everything that speaks for and against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The statement.
    pub text: String,
    /// The witnesses.
    pub checks: Vec<Check>,
}

impl Check {
    /// A witness that agrees.
    pub fn agrees(witness: Witness) -> Self {
        Self {
            witness,
            finding: Finding::Agrees,
        }
    }

    /// A witness that saw something else.
    pub fn contradicts(
        witness: Witness,
        wanted: impl Into<String>,
        had: impl Into<String>,
    ) -> Self {
        let finding = Finding::Contradicts {
            wanted: wanted.into(),
            had: had.into(),
        };
        Self { witness, finding }
    }

    /// Two witnesses that contradict each other.
    pub fn disagrees(
        witness: Witness,
        had: impl Into<String>,
        with: Witness,
        said: impl Into<String>,
    ) -> Self {
        let finding = Finding::Disagrees {
            had: had.into(),
            with,
            said: said.into(),
        };
        Self { witness, finding }
    }

    /// A witness that has nothing to say.
    pub fn missing(witness: Witness, what: impl Into<String>) -> Self {
        Self {
            witness,
            finding: Finding::Missing { what: what.into() },
        }
    }

    /// Agreement when both values are equal, else a contradiction that shows both.
    pub fn equal<T: PartialEq + fmt::Display>(
        witness: Witness,
        what: &str,
        wanted: &T,
        had: &T,
    ) -> Self {
        if wanted == had {
            Self::agrees(witness)
        } else {
            let words = |it: &T| match what {
                "" => it.to_string(),
                what => format!("{what} {it}"),
            };
            Self::contradicts(witness, words(wanted), words(had))
        }
    }
}

impl Claim {
    /// A claim with its checks.
    pub fn new(text: impl Into<String>, checks: Vec<Check>) -> Self {
        Self {
            text: text.into(),
            checks,
        }
    }

    /// What follows from the checks.
    pub fn verdict(&self) -> Verdict {
        let any = |f: fn(&Finding) -> bool| self.checks.iter().any(|c| f(&c.finding));
        if any(|f| matches!(f, Finding::Contradicts { .. } | Finding::Disagrees { .. })) {
            return Verdict::Refuted;
        }
        if any(|f| matches!(f, Finding::Missing { .. })) || self.witnesses().len() < 2 {
            return Verdict::Unproven;
        }
        Verdict::Holds
    }

    /// Witnesses that agree, each once.
    pub fn witnesses(&self) -> BTreeSet<&Witness> {
        self.checks
            .iter()
            .filter(|c| c.finding == Finding::Agrees)
            .map(|c| &c.witness)
            .collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "Holds",
            Self::Unproven => "Unproven",
            Self::Refuted => "Refuted",
        })
    }
}

/// `reviews-v2/proxy`: a process by its pod and role.
pub(super) fn process_words(pod: &str, role: Role) -> String {
    format!("{pod}/{role}")
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("answer"),
            Self::Log { pod, role } => write!(f, "log {}", process_words(pod, *role)),
            Self::Counters { pod } => write!(f, "counters {pod}"),
            Self::Conntrack { pod } => write!(f, "conntrack {pod}"),
            Self::Trace { pod } => write!(f, "trace {pod}"),
            Self::Model => f.write_str("model"),
            Self::File => f.write_str("evidence file"),
            Self::Command { pod } => write!(f, "command in {pod}"),
            Self::Rules { pod } => write!(f, "rules of {pod}"),
            Self::Interfaces { pod } => write!(f, "interfaces of {pod}"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::Agrees => write!(f, "{}: agrees", self.witness),
            Finding::Contradicts { wanted, had } => {
                write!(f, "{}: wanted {wanted}, had {had}", self.witness)
            }
            Finding::Disagrees { had, with, said } => {
                let Self { witness, .. } = self;
                write!(f, "{witness} and {with} disagree: {had}, {said}")
            }
            Finding::Missing { what } => write!(f, "{}: missing {what}", self.witness),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> Witness {
        Witness::Counters { pod: "p".into() }
    }

    #[test]
    fn one_witness_proves_nothing_and_the_same_one_twice_is_one() {
        let claim = Claim::new(
            "c",
            vec![Check::agrees(counters()), Check::agrees(counters())],
        );
        assert_eq!(claim.verdict(), Verdict::Unproven);
        let claim = Claim::new(
            "c",
            vec![Check::agrees(counters()), Check::agrees(Witness::Answer)],
        );
        assert_eq!(claim.verdict(), Verdict::Holds);
    }

    #[test]
    fn a_contradiction_outweighs_any_agreement_and_any_gap() {
        let mut checks = vec![Check::agrees(counters()), Check::agrees(Witness::Answer)];
        checks.push(Check::missing(Witness::Model, "m"));
        assert_eq!(Claim::new("c", checks.clone()).verdict(), Verdict::Unproven);
        checks.push(Check::contradicts(Witness::Model, "a", "b"));
        assert_eq!(Claim::new("c", checks).verdict(), Verdict::Refuted);
    }

    #[test]
    fn in_json_a_check_says_who_found_what() {
        let log = Witness::Log {
            pod: "p".into(),
            role: Role::App,
        };
        let checks = [
            Check::contradicts(log, "a", "b"),
            Check::disagrees(counters(), "one", Witness::Model, "none"),
            Check::missing(Witness::Answer, "it"),
        ];
        let json = serde_json::json!([
            {"witness": {"by": "log", "pod": "p", "role": "app"}, "finding": "contradicts", "wanted": "a", "had": "b"},
            {"witness": {"by": "counters", "pod": "p"}, "finding": "disagrees", "had": "one", "with": {"by": "model"}, "said": "none"},
            {"witness": {"by": "answer"}, "finding": "missing", "what": "it"},
        ]);
        assert_eq!(
            serde_json::to_value(checks).expect("it has a JSON form"),
            json
        );
        assert_eq!(
            serde_json::to_value(Verdict::Holds).expect("it has"),
            "holds"
        );
    }
}
