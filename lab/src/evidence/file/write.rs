//! Writes an evidence file as a run goes on.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    Header, MAX_LINE,
    line::{Line, Planned},
};
use crate::{
    evidence::{Down, Evidence, Machine, SCHEMA, Taken, Up, Window},
    lab_file::LabFile,
    rules::{CounterSnapshot, Family},
};

/// Writes to the end of a file. What belongs together, such as a flow with all that was observed of it, goes out in
/// one write: `out` needs no buffer, and is better without one.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The last reading of each pod, which is the one before the next flow.
    last: BTreeMap<(String, Family), CounterSnapshot>,
}

impl Header {
    /// The header of a file that this hoplab writes.
    pub fn new(started: u64, flows: Vec<Planned>) -> Self {
        Self {
            schema: SCHEMA,
            hoplab: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            flows,
        }
    }
}

impl<W: Write> Writer<W> {
    /// Begins a file, before anything is up.
    ///
    /// # Errors
    /// As every other call: `out` can't be written to.
    pub fn begin(out: W, header: Header, file: &LabFile) -> io::Result<Self> {
        let mut writer = Self {
            out,
            last: BTreeMap::new(),
        };
        let lab = Line::Lab(Box::new(file.save()));
        writer.write(&[Line::Header(header), lab])?;
        Ok(writer)
    }

    /// What came up, and where.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn up(&mut self, machine: &Machine, up: &Up) -> io::Result<()> {
        let mut lines = vec![Line::Machine(machine.clone())];
        for pod in &up.pods {
            for read in &pod.counters {
                self.remember(&pod.name, read);
            }
            lines.push(Line::Pod(Box::new(pod.clone())));
        }
        lines.push(Line::Up {
            node: up.node.clone(),
            tracing: up.tracing,
            took_us: up.took_us,
        });
        self.write(&lines)
    }

    /// What was observed of one flow.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn window(&mut self, window: &Window) -> io::Result<()> {
        let mut lines = Vec::new();
        for (pod, read) in &window.counters {
            let before = &read.before;
            // The same, unless someone read the pod between two flows.
            if self.last.get(&(pod.clone(), before.family)) != Some(before) {
                lines.push(reading(pod, before));
            }
        }
        lines.push(Line::Flow {
            flow: window.flow.clone(),
            family: window.family,
            to: window.to,
            request_id: window.request_id.clone(),
        });
        lines.extend(window.records.iter().cloned().map(Line::Log));
        lines.extend(window.of_held.iter().cloned().map(Line::LogOfHeld));
        for (pod, read) in &window.counters {
            self.remember(pod, &read.after);
            lines.push(reading(pod, &read.after));
        }
        let conntrack = window.conntrack.iter();
        lines.extend(conntrack.map(|(pod, entries)| Line::Conntrack {
            pod: pod.clone(),
            entries: entries.clone(),
        }));
        let traces = window.traces.iter();
        lines.extend(traces.map(|(pod, trace)| Line::Trace {
            pod: pod.clone(),
            trace: trace.clone(),
        }));
        let lost = window.lost.iter().cloned();
        lines.extend(lost.map(Line::Lost));
        lines.push(Line::Answer {
            outcome: window.outcome.clone(),
        });
        lines.push(Line::FlowOver {
            quiet: window.quiet.clone(),
            took_us: window.took_us,
        });
        self.write(&lines)
    }

    /// A step between two flows.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn step(&mut self, taken: &Taken) -> io::Result<()> {
        for pod in &taken.pods {
            for read in &pod.counters {
                self.remember(&pod.name, read);
            }
        }
        self.write(&[Line::Step(Box::new(taken.clone()))])
    }

    /// Counters after the last flow.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn totals(&mut self, totals: &BTreeMap<String, Vec<CounterSnapshot>>) -> io::Result<()> {
        self.write(&[Line::Totals {
            counters: totals.clone(),
        }])
    }

    /// The end of a run: what went down, unless the lab was kept.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn end(&mut self, down: Option<&Down>, took_us: u64) -> io::Result<()> {
        let down = down.cloned().map(Line::Down);
        let lines: Vec<Line> = down.into_iter().chain([Line::End { took_us }]).collect();
        self.write(&lines)
    }

    fn remember(&mut self, pod: &str, read: &CounterSnapshot) {
        self.last
            .insert((pod.to_owned(), read.family), read.clone());
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            let start = text.len();
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            if text.len() - start > MAX_LINE {
                let what = format!(
                    "a line of kind `{}` is longer than the {MAX_LINE} bytes that can be read back",
                    line.kind()
                );
                return Err(io::Error::other(what));
            }
        }
        self.out.write_all(&text)?;
        self.out.flush()
    }
}

/// Writes the file of a run that is over, as if it had been written as the run went on.
///
/// # Errors
/// `out` can't be written to.
pub fn write_whole<W: Write>(
    out: W,
    header: Header,
    file: &LabFile,
    evidence: &Evidence,
    (down, took_us): (&Down, u64),
) -> io::Result<()> {
    let mut writer = Writer::begin(out, header, file)?;
    writer.up(&evidence.machine, &evidence.up)?;
    let mut steps = evidence.steps.iter().peekable();
    for (sent, window) in evidence.windows.iter().enumerate() {
        while let Some(step) = steps.next_if(|it| it.after_flows <= sent) {
            writer.step(step)?;
        }
        writer.window(window)?;
    }
    for step in steps {
        writer.step(step)?;
    }
    writer.totals(&evidence.totals)?;
    writer.end(Some(down), took_us)
}

fn reading(pod: &str, read: &CounterSnapshot) -> Line {
    Line::Counters {
        pod: pod.to_owned(),
        read: read.clone(),
    }
}
