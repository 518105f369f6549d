//! How far it is, and whether there is time for more.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Says on standard error how far it is.
pub(super) struct Progress {
    pub started: Instant,
    time: Option<Duration>,
    done: AtomicUsize,
}

impl Progress {
    pub fn start(time: Option<Duration>) -> Self {
        Self {
            started: Instant::now(),
            time,
            done: AtomicUsize::new(0),
        }
    }

    pub fn is_in_time(&self) -> bool {
        self.time.is_none_or(|time| self.started.elapsed() < time)
    }

    /// One more of so many is over.
    pub fn one(&self, total: usize) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(50) {
            let seconds = self.started.elapsed().as_secs();
            anstream::eprintln!("{done} of {total} mutants, {seconds} s");
        }
    }
}
