//! Steps that were taken among the flows, and the stretches of a run between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, PodUp, Up};
use crate::rules::CounterSnapshot;

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Name of the step.
    pub step: String,
    /// How many flows were over before it.
    pub after_flows: usize,
    /// What programs said that ran for it.
    pub said: Vec<Said>,
    /// Interfaces that the kernel has after it, by pod, where it changes them.
    #[serde(default)]
    pub interfaces: BTreeMap<String, Vec<String>>,
    /// Counters of every pod with rules just before it, by pod, then family.
    pub totals: BTreeMap<String, Vec<CounterSnapshot>>,
    /// Every pod as it stands after it: rules, first counters of what follows, processes.
    pub pods: Vec<PodUp>,
}

/// What a program said that ran in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The pod.
    pub pod: String,
    /// Its command line.
    pub command: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// What it wrote to standard error.
    pub words: String,
}

impl Evidence {
    /// The run cut at its steps: each part with the rules and counters that it began with, as if it were a run.
    pub fn stretches(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = 0;
        for number in 0..=self.steps.len() {
            let began = number.checked_sub(1).map(|it| &self.steps[it]);
            let ends = self.steps.get(number);
            let to = ends.map_or(self.windows.len(), |it| it.after_flows);
            let to = to.clamp(from, self.windows.len());
            parts.push(Self {
                up: Up {
                    pods: began.map_or_else(|| self.up.pods.clone(), |it| it.pods.clone()),
                    ..self.up.clone()
                },
                windows: self.windows[from..to].to_vec(),
                steps: Vec::new(),
                totals: ends.map_or_else(|| self.totals.clone(), |it| it.totals.clone()),
                // What is missing is missing at the end.
                cut: self.cut.clone().filter(|_| ends.is_none()),
                lab: self.lab.clone(),
                rules_from: self.rules_from.clone(),
                machine: self.machine.clone(),
                schema: self.schema,
            });
            from = to;
        }
        parts
    }

    /// The stretch that the flow at a place of [`Self::windows`] belongs to: how many steps were taken before.
    pub fn steps_before(&self, window: usize) -> usize {
        let before = self.steps.iter();
        before.take_while(|it| it.after_flows <= window).count()
    }
}
