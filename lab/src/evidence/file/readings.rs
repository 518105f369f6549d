//! Counters of pods, reading after reading: the end of one is the beginning of the next, so flows leave no gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    evidence::PodUp,
    rules::{self, CounterSnapshot, Family, RuleId, Table},
};

/// The last reading of each pod and family.
#[derive(Default)]
pub(super) struct Readings {
    pods: BTreeSet<String>,
    last: BTreeMap<(String, Family), CounterSnapshot>,
    /// Per family, whose rules were seen first, and their fingerprint.
    rules: BTreeMap<Family, (String, String)>,
}

impl Readings {
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
        for (family, text) in &pod.rules {
            let origin = format!("{family} rules of {name}");
            let set = rules::parse(text, *family, &origin).map_err(|e| e.to_string())?;
            let (print, counted) = (set.fingerprint(), pod.counters.iter());
            let Some(read) = counted.clone().find(|it| it.family == *family) else {
                return Err(format!("the {origin} have no counters"));
            };
            let ids: BTreeSet<RuleId> = Table::ALL
                .iter()
                .flat_map(|table| set.rules(*table))
                .map(|(id, _)| id)
                .collect();
            if read.fingerprint != print || !ids.iter().eq(read.rules.keys()) {
                return Err(format!(
                    "the {origin} have the fingerprint {print}, those counted {}",
                    read.fingerprint
                ));
            }
            let first = (name.clone(), print.clone());
            let (other, known) = self.rules.entry(*family).or_insert(first);
            if *known != print {
                return Err(format!("the {origin} are not those of {other}"));
            }
        }
        for read in &pod.counters {
            if !pod.rules.contains_key(&read.family) {
                return Err(format!("{name} has {} counters without rules", read.family));
            }
            self.last.insert((name.clone(), read.family), read.clone());
        }
        Ok(())
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
