//! A command that comes to a kept lab later starts from now: what went on before is in none of its windows.

use std::{
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use hoplab_proxies::record::Role;

use super::{Event, counters::held_here, drive, live::Live};
use crate::{evidence::Up, failure::Failure, net::Inside, process::ProcessError};

/// Time for processes to hand over what they still have to say.
const SETTLE: Duration = Duration::from_secs(2);

impl Live {
    /// Drops what processes reported and nobody asked for.
    pub fn forget(&mut self) {
        self.records.clear();
        self.of_held.clear();
        self.released.clear();
        self.replies.clear();
    }

    /// Ends senders that a cut-off flow left, waits for what processes still have to report, and forgets all of it.
    /// Held connections are let go.
    pub fn start_from_now(&mut self, queue: &Receiver<Event>) -> Result<(), Failure> {
        self.held.clear();
        self.settle(queue)
    }

    /// As [`Self::start_from_now`], but for held connections, which stay.
    pub fn settle(&mut self, queue: &Receiver<Event>) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLE;
        for stub in 0..self.stubs.len() {
            let left = &self.stubs[stub];
            if left.role == Role::Probe && left.exit.is_none() && !self.holds(stub) {
                drive::dismiss(self, stub, deadline, queue)?;
            }
        }
        self.ask_all();
        while self.unsynced.1 > 0 {
            match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Report(report)) => self.take_report(*report),
                Ok(_) => {}
                // One that is stopped, or dead, has nothing to say now; a flow names the dead.
                Err(_) => break,
            }
        }
        self.forget();
        // What was lost is of the time before, too.
        self.conntrack()?;
        self.traces()?;
        Ok(())
    }

    /// What came up, with the rules and counters that the kernel holds now. The next window starts from these.
    pub fn as_it_stands(&mut self, came_up: &Up) -> Result<Up, Failure> {
        let mut jobs = Vec::new();
        for up in &came_up.pods {
            let pod = self.pods.get(&up.name).filter(|pod| pod.intercepted);
            jobs.push(pod.map(|pod| {
                let (tool, name) = (self.tool, up.name.clone());
                let families: Arc<[_]> = self.families.as_slice().into();
                let read = move |_: &mut Inside| held_here(tool, &families, &name);
                pod.namespace.job(read)
            }));
        }
        let mut now = came_up.clone();
        for (up, job) in now.pods.iter_mut().zip(jobs) {
            let Some(job) = job else { continue };
            let held = job.wait()??;
            (up.rules, up.counters) = (held.rules, held.counters);
            if let Some(pod) = self.pods.get_mut(&up.name) {
                pod.counters.clone_from(&up.counters);
                pod.legacy = held.legacy;
            }
        }
        Ok(now)
    }

    /// A flow needs every process of the lab.
    pub fn is_whole(&self) -> Result<(), Failure> {
        let lasting = self.stubs.iter();
        let mut lasting = lasting.filter(|stub| stub.role != Role::Probe && !stub.stopped);
        let Some((stub, exit)) = lasting.find_map(|stub| Some((stub, stub.exit.as_ref()?))) else {
            return Ok(());
        };
        let error = ProcessError::Ended {
            name: stub.name.clone(),
            status: exit.0.clone(),
            stderr: stub.last_words(),
        };
        Err(error.into())
    }
}
