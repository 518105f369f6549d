//! Which rules were met, and of the others whether a flow can meet them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::choice::{Sampling, choose};
use super::course::course;
use super::flow::Flow;
use super::stage::Stage;
use super::subject::Subject;
use crate::lint::{self, Mistake, Proxy};
use crate::rules::{RuleId, spec_text};

/// How often each rule was met; those that were not are left out.
pub type Met = BTreeMap<RuleId, u64>;

/// The rules of a set, and whether they were met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The set.
    pub name: String,
    /// What met them, in words.
    pub by: String,
    /// Every rule, in order.
    pub rules: Vec<Covered>,
}

/// A rule and whether it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// The rule.
    pub rule: RuleId,
    /// As `iptables-save` prints it.
    pub text: String,
    /// How often.
    pub met: u64,
    /// Of one that was not met, whether it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// Whether a rule that was not met can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// This flow would meet it, says the model.
    By(Flow),
    /// No flow does, and why.
    Never(String),
    /// None of the flows asked about does; it asks for what they do not vary, or stands behind what does.
    Untold,
}

impl Coverage {
    /// How many rules were met.
    pub fn met(&self) -> usize {
        self.rules.iter().filter(|it| it.met > 0).count()
    }

    /// Rules that were not met: which, what it says, and whether it can be met.
    pub fn unmet(&self) -> impl Iterator<Item = (&RuleId, &str, &Reach)> {
        let all = self.rules.iter();
        all.filter_map(|it| Some((&it.rule, it.text.as_str(), it.reach.as_ref()?)))
    }

    /// Whether a rule was not met that can be.
    pub fn misses(&self) -> bool {
        self.unmet()
            .any(|(_, _, reach)| matches!(reach, Reach::By(_)))
    }
}

/// Says of every rule whether it was met, and of the others why not. `by` is what met them, in words.
pub fn cover(subject: &Subject, stage: &Stage, by: String, met: &Met) -> Coverage {
    let none = Sampling { flows: 0, seed: 0 };
    let mut flows: BTreeMap<RuleId, Flow> = BTreeMap::new();
    for flow in choose(&[subject], stage, none)
        .map(|it| it.flows)
        .unwrap_or_default()
    {
        for rule in course(subject, stage, &flow).rules() {
            flows.entry(rule.clone()).or_insert_with(|| flow.clone());
        }
    }
    let sets: Vec<_> = subject.sets().cloned().collect();
    let findings = lint::lint(&sets, Proxy::ISTIO);
    let never = |rule: &RuleId| {
        let dead = findings
            .iter()
            .filter(|it| matches!(it.mistake, Mistake::NeverMatches | Mistake::Order));
        let mut of = dead.filter(|it| it.rule == *rule);
        of.next().map(|it| it.because.clone())
    };
    let all = sets
        .iter()
        .flat_map(|set| set.tables.keys().flat_map(|table| set.rules(*table)));
    let rules = all.map(|(rule, it)| {
        let count = met.get(&rule).copied().unwrap_or(0);
        let reach = || match (flows.get(&rule), never(&rule)) {
            (Some(flow), _) => Reach::By(flow.clone()),
            (None, Some(why)) => Reach::Never(why),
            (None, None) => Reach::Untold,
        };
        Covered {
            text: spec_text(&rule.chain, &it.spec),
            met: count,
            reach: (count == 0).then(reach),
            rule,
        }
    });
    Coverage {
        name: subject.name.clone(),
        by,
        rules: rules.collect(),
    }
}
