//! One side of a comparison: rules of both families, and what is routed by mark beside them.

use std::collections::BTreeMap;

use crate::model::{Host, local_marks};
use crate::rules::{Family, MarkValue, RuleSet};

use super::stage::{INTERFACE, Stage};

/// A rule set as it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What people call it: `profile:kuma`, a path.
    pub name: String,
    sets: BTreeMap<Family, RuleSet>,
    marks: BTreeMap<Family, Vec<MarkValue>>,
}

impl Subject {
    /// Rules of a pod, at most one set per family. `marks` says which marks `ip rule` routes to the pod; where it says
    /// nothing, the rules tell (`model::local_marks`).
    pub fn new(
        name: impl Into<String>,
        sets: impl IntoIterator<Item = RuleSet>,
        marks: impl Fn(Family) -> Option<Vec<MarkValue>>,
    ) -> Self {
        let sets: BTreeMap<Family, RuleSet> = sets
            .into_iter()
            .map(|set| (set.family, set.without_counters()))
            .collect();
        let marks = sets
            .values()
            .map(|set| {
                let known = marks(set.family).unwrap_or_else(|| local_marks(set));
                (set.family, known)
            })
            .collect();
        Self {
            name: name.into(),
            sets,
            marks,
        }
    }

    /// The families it has rules for.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        let used = self.sets.values().filter(|set| !set.is_empty());
        used.map(|set| set.family)
    }

    /// The rules of a family.
    pub fn rules(&self, family: Family) -> Option<&RuleSet> {
        self.sets.get(&family)
    }

    /// Every rule set.
    pub fn sets(&self) -> impl Iterator<Item = &RuleSet> {
        self.sets.values()
    }

    /// The marks routed to the pod.
    pub fn marks(&self, family: Family) -> &[MarkValue] {
        self.marks.get(&family).map_or(&[], Vec::as_slice)
    }

    /// The same routes with other rules of some families, as a mutant has.
    #[must_use]
    pub fn with_rules(
        &self,
        name: impl Into<String>,
        sets: impl IntoIterator<Item = RuleSet>,
    ) -> Self {
        let mut other = self.clone();
        other.name = name.into();
        for set in sets {
            other.sets.insert(set.family, set);
        }
        other
    }

    /// The same, some families alone.
    #[must_use]
    pub fn only(mut self, families: &[Family]) -> Self {
        self.sets.retain(|of, _| families.contains(of));
        self
    }

    /// The machine as the model knows it.
    pub(super) fn host(&self, stage: &Stage, family: Family) -> Host {
        Host {
            local_marks: Some(self.marks(family).to_vec()),
            conntrack: self.rules(family).is_some_and(RuleSet::wakes_conntrack),
            ..Host::new(INTERFACE, stage.pod(family))
        }
    }
}
