//! The calls to a pod, and how those ended that were begun while something was done to it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::failure::{Class, Failure};

/// Time for a call: long enough for a busy machine, and too short for a first packet to be sent again (1 s).
pub(super) const LIMIT: Duration = Duration::from_millis(800);

/// How calls ended, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Taken by the listener that rules turn them to.
    pub proxied: u64,
    /// Taken by the one they were meant for.
    pub direct: u64,
    /// Refused or reset.
    pub refused: u64,
    /// Nobody answered in time.
    pub lost: u64,
}

/// How one call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Proxied,
    Direct,
    Refused,
    Lost,
}

/// A call: when it began, and how it ended; none is under way.
type Made = (Instant, Option<End>);

/// Calls so far.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<(Mutex<Vec<Made>>, Condvar)>);

impl Tally {
    fn calls(&self) -> MutexGuard<'_, Vec<Made>> {
        let (calls, _) = &*self.0;
        calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives its number.
    pub fn begin(&self) -> usize {
        let mut calls = self.calls();
        calls.push((Instant::now(), None));
        calls.len() - 1
    }

    pub fn end(&self, number: usize, end: End) {
        self.calls()[number].1 = Some(end);
        self.0.1.notify_all();
    }

    /// Waits until something is so of the calls.
    fn wait(&self, is_so: impl Fn(&[Made]) -> bool) -> Result<(), Failure> {
        let (calls, waited) = (self.0.1)
            .wait_timeout_while(self.calls(), LIMIT * 4, |calls| !is_so(calls))
            .unwrap_or_else(PoisonError::into_inner);
        drop(calls);
        match waited.timed_out() {
            true => Err(Failure::new(Class::State, "nobody calls the pod any more")),
            false => Ok(()),
        }
    }

    /// Does something, and says how the calls ended that were begun meanwhile.
    fn during<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Calls), Failure> {
        let now = Instant::now();
        self.wait(|calls| {
            calls
                .iter()
                .any(|(began, end)| *began >= now && end.is_some())
        })?;
        let since = Instant::now();
        let done = work()?;
        let until = Instant::now();
        self.wait(|calls| {
            let meanwhile = calls.iter().filter(|(began, _)| *began < until);
            meanwhile.clone().all(|(_, end)| end.is_some())
        })?;
        let mut calls = Calls::default();
        for (began, end) in self.calls().iter() {
            let Some(end) = end.filter(|_| (since..until).contains(began)) else {
                continue;
            };
            *match end {
                End::Proxied => &mut calls.proxied,
                End::Direct => &mut calls.direct,
                End::Refused => &mut calls.refused,
                End::Lost => &mut calls.lost,
            } += 1;
        }
        Ok((done, calls))
    }
}

/// Does something while the pod is called, where it is.
pub(super) fn watched<T>(
    tally: Option<&Tally>,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Option<Calls>), Failure> {
    match tally {
        None => Ok((work()?, None)),
        Some(tally) => tally.during(work).map(|(done, calls)| (done, Some(calls))),
    }
}
