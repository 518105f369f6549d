//! The rules of a pod twice: those that were meant, which expectations name, and those the kernel holds.

use std::collections::BTreeMap;

use super::pods::rule_name;
use crate::{
    evidence::{Evidence, PodUp},
    failure::{Class, Failure},
    rules::{self, Alignment, Difference, Family, RuleId, RuleSet, Table, spec_text},
};

/// One family's rules of a pod.
pub(crate) struct RuleSets {
    /// The rules that were meant, which expectations name.
    pub reference: RuleSet,
    /// The rules the kernel holds.
    pub applied: RuleSet,
    /// Pairs the two.
    pub alignment: Alignment,
}

impl RuleSets {
    pub fn new(reference: RuleSet, applied: RuleSet) -> Self {
        Self {
            alignment: rules::align(&reference, &applied),
            reference,
            applied,
        }
    }

    /// How the kernel's differ from those that were meant.
    pub fn changes(&self) -> Vec<Difference> {
        rules::diff(&self.reference, &self.applied, &Table::ALL)
    }

    /// A rule that was meant, with its text.
    pub fn rule_words(&self, rule: &RuleId) -> String {
        let name = rule_name(rule);
        match self.reference.rule(rule) {
            Some(found) => format!("{name} `{}`", spec_text(&rule.chain, &found.spec)),
            None => format!("{name} (the lab's own rules have no such rule)"),
        }
    }

    /// A rule in the pod, with its text.
    pub fn applied_words(&self, rule: &RuleId) -> String {
        let name = rule_name(rule);
        match self.applied.rule(rule) {
            Some(found) => format!("{name} `{}`", spec_text(&rule.chain, &found.spec)),
            None => name,
        }
    }
}

/// The rules of a family as the kernel holds them in a pod; none where there is no such pod.
pub(super) fn held(pod: Option<&PodUp>, family: Family) -> Result<RuleSet, Failure> {
    let held = pod.map(|pod| pod.rules.rules(family, "the rules in the evidence"));
    let held = held.transpose();
    let held = held.map_err(|e| Failure::new(Class::Input, e.to_string()))?;
    Ok(held.flatten().unwrap_or_else(|| RuleSet::empty(family)))
}

/// The rules of a family as the kernel holds them in each pod that has some.
///
/// # Errors
/// Rules that can't be read.
pub(crate) fn held_by_pod(
    evidence: &Evidence,
    family: Family,
) -> Result<BTreeMap<String, RuleSet>, Failure> {
    let pods = evidence.up.pods.iter();
    let pods = pods.filter(|pod| !pod.rules.is_empty());
    pods.map(|pod| Ok((pod.name.clone(), held(Some(pod), family)?)))
        .collect()
}
