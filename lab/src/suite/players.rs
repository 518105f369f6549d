//! Plays cases side by side, with a bound and in any order; what came of them is in the order of the cases.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Case, Played, Stop, Stopped, play_unless};
use crate::{
    failure::Failure,
    outcome::{CaseOutcome, Detailed},
};

/// How cases are played.
#[derive(Debug, Clone, Copy)]
pub struct Players {
    /// Labs that are up at once.
    pub jobs: usize,
    /// What is told of flows.
    pub detailed: Detailed,
    /// When all has to be over.
    pub until: Option<Instant>,
}

/// Plays all cases. `done` hears of each that is over, as it is over; a case that was not played has no outcome.
pub fn play_all(
    cases: &[Case],
    players: Players,
    stop: &Stop,
    done: impl Fn(&CaseOutcome, Option<&Played>) + Sync,
) -> Vec<Option<CaseOutcome>> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<CaseOutcome>>> =
        cases.iter().map(|_| Mutex::default()).collect();
    let work = || {
        while stop.stopped().is_none() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return };
            let (outcome, played) = outcome(case, players.detailed, stop);
            // What was cut short says nothing.
            if stop.stopped().is_some() {
                return;
            }
            done(&outcome, played.as_ref());
            *outcomes[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    };
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        if let Some(until) = players.until {
            scope.spawn(move || {
                let left = until.saturating_duration_since(Instant::now());
                if is_over.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                    stop.now(Stopped::TimeIsOver);
                }
            });
        }
        let workers: Vec<_> = (0..players.jobs.min(cases.len()))
            .map(|_| scope.spawn(work))
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                stop.now(Stopped::Interrupted);
                drop(over);
                std::panic::resume_unwind(panic);
            }
        }
        drop(over);
    });
    let slots = outcomes.into_iter();
    slots
        .map(|it| it.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

fn outcome(case: &Case, detailed: Detailed, stop: &Stop) -> (CaseOutcome, Option<Played>) {
    let started = Instant::now();
    let broken = |failure: &Failure| {
        let took_us = micros(started.elapsed());
        CaseOutcome::broken(case.name.clone(), case.flows(), failure, took_us)
    };
    match play_unless(case, stop) {
        Err(failure) => (broken(&failure), None),
        Ok(played) => match played.outcome(case, detailed) {
            Err(failure) => (broken(&failure), Some(played)),
            Ok(outcome) => (outcome, Some(played)),
        },
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
