//! From lines to a run: what may follow what, and what must fit together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Header, Recorded,
    line::{Line, Planned},
    readings::Readings,
    under_way::UnderWay,
};
use crate::{
    evidence::{Cut, Down, Evidence, Loss, Machine, PodUp, SCHEMA, Taken, Up, Window},
    failure::Failure,
    lab_file::LabFile,
    rules::CounterSnapshot,
    traced::TracedPacket,
};

/// What was told so far.
#[derive(Default)]
pub(super) struct Story {
    header: Option<Header>,
    file: Option<LabFile>,
    machine: Option<Machine>,
    pods: Vec<PodUp>,
    up: Option<Up>,
    readings: Readings,
    windows: Vec<Window>,
    steps: Vec<Taken>,
    /// Request ids of the flows.
    ids: BTreeSet<String>,
    /// The flow that is not over.
    open: Option<UnderWay>,
    totals: Option<BTreeMap<String, Vec<CounterSnapshot>>>,
    down: Option<Down>,
    took_us: Option<u64>,
}

/// Why a line is wrong.
pub(super) enum Wrong {
    /// It can't stand there, or does not fit what was told before.
    Line(String),
    /// The lab in it can't be used.
    Lab(Failure),
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Line(why)
    }
}

impl Story {
    /// Takes the next line.
    ///
    /// # Errors
    /// It can't stand there, or does not fit what was told before.
    pub fn take(&mut self, line: Line) -> Result<(), Wrong> {
        if !self.may_come(&line) {
            return Err(format!("a line of kind `{}` can't stand here", line.kind()).into());
        }
        match line {
            Line::Header(header) => self.header = Some(header),
            Line::Lab(saved) => {
                let file = LabFile::restore(*saved).map_err(Wrong::Lab)?;
                self.readings.know_own(file.own().keys());
                self.file = Some(file);
            }
            Line::Machine(machine) => self.machine = Some(machine),
            Line::Pod(pod) => self.pod(*pod)?,
            Line::Up {
                node,
                tracing,
                took_us,
            } => {
                let pods = std::mem::take(&mut self.pods);
                self.up = Some(Up {
                    pods,
                    node,
                    tracing,
                    took_us,
                });
            }
            Line::Flow {
                flow,
                family,
                to,
                request_id,
            } => {
                self.is_next(&Planned {
                    flow: flow.clone(),
                    family,
                })?;
                if !self.ids.insert(request_id.clone()) {
                    return Err(format!("a flow `{request_id}` is there already").into());
                }
                self.open = Some(UnderWay::new(flow, family, to, request_id));
            }
            Line::Counters { pod, read } => {
                let before = self.readings.next(&pod, &read)?;
                if let Some(open) = &mut self.open {
                    open.counted(pod, before, read)?;
                }
            }
            Line::FlowOver { quiet, took_us } => {
                if let Some(open) = self.open.take() {
                    self.windows.push(open.over(quiet, took_us)?);
                }
            }
            Line::Step(taken) => self.step(*taken)?,
            Line::Totals { counters } => {
                if let Some(missing) = self.planned().get(self.windows.len()) {
                    let Planned { flow, family } = missing;
                    return Err(format!("flow {flow} over {family} is missing before it").into());
                }
                self.readings.knows(counters.keys())?;
                self.totals = Some(counters);
            }
            Line::Down(down) => self.down = Some(down),
            Line::End { took_us } => self.took_us = Some(took_us),
            observed => {
                if let Line::Conntrack { pod, .. }
                | Line::Trace { pod, .. }
                | Line::Lost(Loss { pod, .. }) = &observed
                {
                    self.readings.knows([pod])?;
                }
                if let Line::Trace { trace, .. } = &observed {
                    let unseen = |it: &TracedPacket| it.stations.is_empty();
                    if trace.packets.iter().any(unseen) {
                        return Err("a traced packet was seen nowhere".to_owned().into());
                    }
                }
                if let Some(open) = &mut self.open {
                    open.observed(observed)?;
                }
            }
        }
        Ok(())
    }

    /// The run, as far as it goes. None before the lab was up.
    pub fn end(self, torn_line: Option<usize>) -> Option<Recorded> {
        let planned = self.planned().len();
        let whole = self.took_us.is_some();
        let cut = (!whole).then(|| Cut {
            after: self.windows.last().map(|w| w.flow.clone()),
            during: self.open.map(UnderWay::flow),
            flows: self.windows.len(),
            planned,
            totals: self.totals.is_some(),
            torn_line,
        });
        let file = self.file?;
        let evidence = Evidence {
            schema: SCHEMA,
            lab: file.topology.name.clone(),
            rules_from: file.rules_from.clone(),
            machine: self.machine?,
            up: self.up?,
            windows: self.windows,
            steps: self.steps,
            totals: self.totals.unwrap_or_default(),
            cut,
        };
        Some(Recorded {
            header: self.header?,
            file,
            evidence,
            down: self.down,
            took_us: self.took_us,
        })
    }

    /// The order of lines.
    fn may_come(&self, line: &Line) -> bool {
        use Line as L;
        match line {
            _ if self.took_us.is_some() => false,
            L::Header(_) => self.header.is_none(),
            L::Lab(_) => self.header.is_some() && self.file.is_none(),
            L::Machine(_) => self.file.is_some() && self.machine.is_none(),
            L::Pod(_) | L::Up { .. } => self.machine.is_some() && self.up.is_none(),
            _ if self.up.is_none() => false,
            L::Log(_)
            | L::LogOfHeld(_)
            | L::Conntrack { .. }
            | L::Trace { .. }
            | L::Lost { .. }
            | L::Answer { .. }
            | L::FlowOver { .. } => self.open.is_some(),
            L::Counters { .. } => self.totals.is_none(),
            L::Flow { .. } | L::Step(_) | L::Totals { .. } => {
                self.open.is_none() && self.totals.is_none()
            }
            L::Down(_) => self.totals.is_some() && self.down.is_none(),
            L::End { .. } => self.totals.is_some(),
        }
    }

    fn planned(&self) -> &[Planned] {
        self.header.as_ref().map_or(&[], |header| &header.flows)
    }

    fn pod(&mut self, pod: PodUp) -> Result<(), String> {
        let known = self.file.as_ref().map(|file| &file.topology);
        if known.is_some_and(|topology| topology.pod(&pod.name).is_none()) {
            return Err(format!("the lab has no pod `{}`", pod.name));
        }
        self.readings.begin(&pod)?;
        self.pods.push(pod);
        Ok(())
    }

    /// A step must be the file's next, and stand where the file has it.
    fn step(&mut self, taken: Taken) -> Result<(), String> {
        let steps = self
            .file
            .as_ref()
            .map(|file| file.topology.steps.as_slice());
        let next = steps.and_then(|it| it.get(self.steps.len()));
        if next.is_none_or(|it| it.name != taken.step) {
            return Err(format!("step `{}` is not the lab file's next", taken.step));
        }
        if taken.after_flows != self.windows.len() {
            let (said, had) = (taken.after_flows, self.windows.len());
            return Err(format!(
                "step `{}` says {said} flows were over, and {had} were",
                taken.step
            ));
        }
        self.readings.knows(taken.totals.keys())?;
        self.readings.begin_anew(&taken.pods)?;
        self.steps.push(taken);
        Ok(())
    }

    fn is_next(&self, flow: &Planned) -> Result<(), String> {
        let words = |it: &Planned| format!("flow {} over {}", it.flow, it.family);
        match self.planned().get(self.windows.len()) {
            Some(next) if next == flow => Ok(()),
            Some(next) => Err(format!(
                "{} where {} was to be sent",
                words(flow),
                words(next)
            )),
            None => Err(format!("{} was not to be sent", words(flow))),
        }
    }
}
