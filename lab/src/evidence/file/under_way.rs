//! A flow that is under way: what was observed of it so far.

use std::{collections::BTreeMap, net::SocketAddr};

use hoplab_proxies::{record::Record, wire::CallOutcome};

use super::line::Line;
use crate::{
    evidence::{ConntrackEntry, Loss, PodCounters, Quiet, Window},
    rules::{CounterSnapshot, Family},
    traced::PodTrace,
};

/// A [`Window`] that is not complete.
pub(super) struct UnderWay {
    flow: String,
    family: Family,
    to: SocketAddr,
    request_id: String,
    outcome: Option<CallOutcome>,
    records: Vec<Record>,
    of_held: Vec<Record>,
    counters: BTreeMap<String, PodCounters>,
    conntrack: BTreeMap<String, Vec<ConntrackEntry>>,
    traces: BTreeMap<String, PodTrace>,
    lost: Vec<Loss>,
}

impl UnderWay {
    /// A flow begins.
    pub fn new(flow: String, family: Family, to: SocketAddr, request_id: String) -> Self {
        Self {
            flow,
            family,
            to,
            request_id,
            outcome: None,
            records: Vec::new(),
            of_held: Vec::new(),
            counters: BTreeMap::new(),
            conntrack: BTreeMap::new(),
            traces: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// Its name.
    pub fn flow(self) -> String {
        self.flow
    }

    /// The counters of a pod after it.
    ///
    /// # Errors
    /// They are there already.
    pub fn counted(
        &mut self,
        pod: String,
        before: CounterSnapshot,
        after: CounterSnapshot,
    ) -> Result<(), String> {
        let read = PodCounters { before, after };
        match self.counters.insert(pod.clone(), read) {
            Some(_) => Err(format!("counters of {pod} are there already")),
            None => Ok(()),
        }
    }

    /// Any other observation.
    ///
    /// # Errors
    /// It is there already.
    pub fn observed(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Log(record) => self.records.push(record),
            Line::LogOfHeld(record) => self.of_held.push(record),
            Line::Lost(loss) => self.lost.push(loss),
            Line::Conntrack { pod, entries } => {
                if self.conntrack.insert(pod.clone(), entries).is_some() {
                    return Err(format!("conntrack of {pod} is there already"));
                }
            }
            Line::Trace { pod, trace } => {
                if self.traces.insert(pod.clone(), trace).is_some() {
                    return Err(format!("the trace of {pod} is there already"));
                }
            }
            Line::Answer { outcome } => {
                if self.outcome.replace(outcome).is_some() {
                    return Err("the answer is there already".to_owned());
                }
            }
            other => return Err(format!("`{}` is no observation", other.kind())),
        }
        Ok(())
    }

    /// The flow is over.
    ///
    /// # Errors
    /// Nothing was told of its answer.
    pub fn over(self, quiet: Quiet, took_us: u64) -> Result<Window, String> {
        let outcome = self.outcome.ok_or("the answer is missing before it")?;
        Ok(Window {
            flow: self.flow,
            family: self.family,
            to: self.to,
            request_id: self.request_id,
            outcome,
            records: self.records,
            of_held: self.of_held,
            counters: self.counters,
            conntrack: self.conntrack,
            traces: self.traces,
            lost: self.lost,
            quiet,
            took_us,
        })
    }
}
