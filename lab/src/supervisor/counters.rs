//! Counters and rules of the pods, as the kernel holds them.

use std::{collections::BTreeMap, sync::Arc};

use super::live::Live;
use crate::{
    evidence::PodCounters,
    failure::Failure,
    net::{Inside, Job},
    netfilter::{self, Backend, NetfilterError, RuleTool as Tool},
    rules::{CounterSnapshot, Family, RuleSet, Written, to_restore},
};

/// What reading a pod's counters gives.
type PodReading = Result<Vec<CounterSnapshot>, NetfilterError>;

/// Counters that are being read, by pod.
pub(super) struct Reading(Vec<(String, Job<PodReading>)>);

impl Reading {
    /// Waits for all of them.
    pub fn wait(self) -> Result<BTreeMap<String, Vec<CounterSnapshot>>, Failure> {
        let read = self.0.into_iter();
        read.map(|(pod, job)| Ok((pod, job.wait()??))).collect()
    }
}

impl Live {
    /// Reads counters of some pods, all at once; pods without rules have none.
    fn counters(
        &self,
        pods: &[String],
        families: &[Family],
    ) -> Result<BTreeMap<String, Vec<CounterSnapshot>>, Failure> {
        self.begin_counters(pods, families).wait()
    }

    /// Begins to read counters, on the threads of the pods.
    pub fn begin_counters(&self, pods: &[String], families: &[Family]) -> Reading {
        let tool = self.tool;
        let families: Arc<[Family]> = families.into();
        let mut jobs = Vec::new();
        for name in pods {
            if let Some(pod) = self.pods.get(name).filter(|p| p.intercepted) {
                let (families, pod_name) = (Arc::clone(&families), name.clone());
                let read = move |_: &mut Inside| read_here(tool, &families, &pod_name);
                jobs.push((name.clone(), pod.namespace.job(read)));
            }
        }
        Reading(jobs)
    }

    /// Counters of some pods before and after the window that ends with this reading, in the family of its flow.
    ///
    /// A rule of an inet table has one counter for both families. All families are read at once there, so that the next
    /// window over the other family begins where this one ends.
    pub fn window_counters(
        &mut self,
        reading: BTreeMap<String, Vec<CounterSnapshot>>,
        family: Family,
    ) -> BTreeMap<String, PodCounters> {
        let mut counters = BTreeMap::new();
        for (name, read) in reading {
            let Some(pod) = self.pods.get_mut(&name) else {
                continue;
            };
            for after in read {
                let known = pod.counters.iter_mut().find(|it| it.family == after.family);
                let Some(last) = known else { continue };
                let before = std::mem::replace(last, after.clone());
                if after.family == family {
                    counters.insert(name.clone(), PodCounters { before, after });
                }
            }
        }
        counters
    }

    /// Counters of every pod with rules.
    pub fn all_counters(&self) -> Result<BTreeMap<String, Vec<CounterSnapshot>>, Failure> {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        self.counters(&names, &self.families)
    }
}

/// Runs on a pod's thread. nft lists the rules of all families at once.
fn read_here(
    tool: Tool,
    families: &[Family],
    pod: &str,
) -> Result<Vec<CounterSnapshot>, NetfilterError> {
    held_here(tool, families, pod).map(|held| held.counters)
}

/// What the kernel holds in a pod.
pub(super) struct Held {
    pub rules: Written,
    pub counters: Vec<CounterSnapshot>,
    /// The rules as values, of legacy iptables only.
    pub legacy: Vec<RuleSet>,
}

/// Runs on a pod's thread: the rules that the kernel holds, and their counters. nft lists those of all families at once.
pub(super) fn held_here(
    tool: Tool,
    families: &[Family],
    pod: &str,
) -> Result<Held, NetfilterError> {
    let Tool::Iptables(backend) = tool else {
        let (text, sets) = netfilter::native_held(pod)?;
        return Ok(Held {
            rules: text,
            counters: sets.iter().map(CounterSnapshot::of_nft).collect(),
            legacy: Vec::new(),
        });
    };
    let (mut texts, mut counters, mut legacy) = (BTreeMap::new(), Vec::new(), Vec::new());
    for family in families {
        let rules = netfilter::save(backend, *family, pod)?;
        counters.push(netfilter::counters(&rules, pod)?);
        texts.insert(*family, to_restore(&rules));
        if backend == Backend::Legacy {
            legacy.push(rules);
        }
    }
    Ok(Held {
        rules: Written::Iptables(texts),
        counters,
        legacy,
    })
}
