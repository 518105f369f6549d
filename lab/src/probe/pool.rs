//! Sandboxes that play probes, one process tree each, so that they run side by side.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::ProbePlan;
use crate::{
    behaviour::ProbeReport,
    failure::{Class, Failure},
    sandbox::{
        Supervisor,
        protocol::{Message, Request},
    },
};

/// A few sandboxes. Dropping it ends them.
pub struct Pool {
    sandboxes: Vec<Mutex<Supervisor>>,
}

impl Pool {
    /// Starts this many, at least one.
    ///
    /// # Errors
    /// No sandbox can be had here.
    pub fn start(sandboxes: usize) -> Result<Self, Failure> {
        let started = (0..sandboxes.max(1)).map(|_| Supervisor::start().map(Mutex::new));
        Ok(Self {
            sandboxes: started.collect::<Result<_, _>>()?,
        })
    }

    /// One for each processor, but no more than there is work for.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub fn for_work(jobs: usize) -> Result<Self, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::start(processors.min(jobs))
    }

    /// The supervisors' own interrupters: closing one ends a probe that is under way.
    ///
    /// # Errors
    /// A socket can't be duplicated.
    pub fn interrupters(&self) -> std::io::Result<Vec<std::os::unix::net::UnixStream>> {
        let each = self.sandboxes.iter().map(|it| {
            let sandbox = it.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sandbox.interrupter()
        });
        each.collect()
    }

    /// Plays every probe, as many side by side as there are sandboxes; the results in order. `done` hears of each
    /// that is over. A probe whose rules are refused is an error of its own, not of the others.
    pub fn play(
        &self,
        plans: Vec<ProbePlan>,
        done: impl Fn(usize, &Result<ProbeReport, Failure>) + Sync,
    ) -> Vec<Result<ProbeReport, Failure>> {
        let played = self.play_while(plans, || true, done).into_iter();
        let no_answer = || Err(Failure::new(Class::State, "a sandbox gave no answer"));
        played.map(|it| it.unwrap_or_else(no_answer)).collect()
    }

    /// The same, but begins none once `on` says no; those have no result.
    pub fn play_while(
        &self,
        plans: Vec<ProbePlan>,
        on: impl Fn() -> bool + Sync,
        done: impl Fn(usize, &Result<ProbeReport, Failure>) + Sync,
    ) -> Vec<Option<Result<ProbeReport, Failure>>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<ProbeReport, Failure>>>> =
            plans.iter().map(|_| Mutex::new(None)).collect();
        let (plans, results_of, done, next, on) = (&plans, &results, &done, &next, &on);
        std::thread::scope(|scope| {
            for sandbox in &self.sandboxes {
                scope.spawn(move || {
                    let mut sandbox = sandbox
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(plan) = plans.get(at).filter(|_| on()) else {
                            return;
                        };
                        let result = ask(&mut sandbox, plan);
                        done(at, &result);
                        if let Ok(mut slot) = results_of[at].lock() {
                            *slot = Some(result);
                        }
                    }
                });
            }
        });
        let over = results.into_iter();
        over.map(|slot| {
            slot.into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        })
        .collect()
    }
}

fn ask(sandbox: &mut Supervisor, plan: &ProbePlan) -> Result<ProbeReport, Failure> {
    sandbox.send(&Request::Probe(Box::new(plan.clone())))?;
    match sandbox.receive()? {
        Message::Probed(report) => Ok(*report),
        Message::Failed(failure) => Err(failure),
        other => {
            let what = format!("the supervisor answered something else: {other:?}");
            Err(Failure::new(Class::State, what))
        }
    }
}
