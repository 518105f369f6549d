//! Counters of pods, reading after reading: the end of one is the beginning of the next, so flows leave no gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    evidence::PodUp,
    rules::{CounterSnapshot, Family, Rule, RuleId, RuleSet, Table},
};

/// The last reading of each pod and family.
#[derive(Default)]
pub(super) struct Readings {
    pods: BTreeSet<String>,
    last: BTreeMap<(String, Family), CounterSnapshot>,
    /// Pods with rules of their own.
    own: BTreeSet<String>,
    /// Per family, whose rules were seen first, and their fingerprint.
    rules: BTreeMap<Family, (String, String)>,
}

impl Readings {
    /// Says which pods have rules of their own.
    pub fn know_own<'p>(&mut self, pods: impl Iterator<Item = &'p String>) {
        self.own = pods.cloned().collect();
    }

    /// Takes the first reading of a pod.
    ///
    /// # Errors
    /// The pod is there already; its rules can't be read, are not those that were counted, or not those of the pods
    /// before it: one rule set per family is what the judge judges by.
    pub fn begin(&mut self, pod: &PodUp) -> Result<(), String> {
        let name = &pod.name;
        if !self.pods.insert(name.clone()) {
            return Err(format!("pod {name} is there already"));
        }
        for family in [Family::V4, Family::V6] {
            let origin = format!("{family} rules of {name}");
            let set = pod
                .rules
                .rules(family, &origin)
                .map_err(|e| e.to_string())?;
            if let Some(set) = set {
                self.counted(pod, &set, &origin)?;
            }
        }
        for read in &pod.counters {
            if !self.rules.contains_key(&read.family) && !self.own.contains(name) {
                return Err(format!("{name} has {} counters without rules", read.family));
            }
            self.last.insert((name.clone(), read.family), read.clone());
        }
        Ok(())
    }

    /// Are these the rules that were counted, and those of the pods before?
    fn counted(&mut self, pod: &PodUp, set: &RuleSet, origin: &str) -> Result<(), String> {
        let family = set.family;
        let print = set.fingerprint();
        let Some(read) = pod.counters.iter().find(|it| it.family == family) else {
            return Err(format!("the {origin} have no counters"));
        };
        let all = Table::ALL.iter().flat_map(|table| set.rules(*table));
        // nft counts where a rule says so.
        let counts = |rule: &Rule| !pod.rules.is_nft() || rule.counters.is_some();
        let ids: BTreeSet<RuleId> = all
            .filter(|(_, rule)| counts(rule))
            .map(|(id, _)| id)
            .collect();
        if read.fingerprint != print || !ids.iter().eq(read.rules.keys()) {
            return Err(format!(
                "the {origin} have the fingerprint {print}, those counted {}",
                read.fingerprint
            ));
        }
        if self.own.contains(&pod.name) {
            return Ok(());
        }
        let first = (pod.name.clone(), print.clone());
        let (other, known) = self.rules.entry(family).or_insert(first);
        match *known == print {
            true => Ok(()),
            false => Err(format!("the {origin} are not those of {other}")),
        }
    }

    /// Takes the first reading of every pod after a step.
    ///
    /// # Errors
    /// As [`Self::begin`], or a pod that came up is missing.
    pub fn begin_anew(&mut self, pods: &[PodUp]) -> Result<(), String> {
        let before = std::mem::take(&mut self.pods);
        self.rules.clear();
        for pod in pods {
            self.begin(pod)?;
        }
        match before == self.pods {
            true => Ok(()),
            false => Err("the pods after a step are not those that came up".to_owned()),
        }
    }

    /// Takes the next reading of a pod, and gives back the one before.
    ///
    /// # Errors
    /// There is none before it.
    pub fn next(&mut self, pod: &str, read: &CounterSnapshot) -> Result<CounterSnapshot, String> {
        let family = read.family;
        match self.last.get_mut(&(pod.to_owned(), family)) {
            Some(last) => Ok(std::mem::replace(last, read.clone())),
            None => Err(format!("{pod} came up without {family} rules")),
        }
    }

    /// Are these pods that came up?
    ///
    /// # Errors
    /// One of them did not.
    pub fn knows<'p>(&self, pods: impl IntoIterator<Item = &'p String>) -> Result<(), String> {
        let mut pods = pods.into_iter();
        match pods.find(|pod| !self.pods.contains(*pod)) {
            Some(pod) => Err(format!("no pod `{pod}` came up")),
            None => Ok(()),
        }
    }
}
