//! How far a suite is, on a terminal: one line that is written again and again. Elsewhere nothing.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::{Mutex, PoisonError},
};

use crate::outcome::CaseOutcome;

/// Counts cases that are over.
pub(super) struct Progress {
    of: usize,
    shown: bool,
    /// Over, and not as expected.
    counts: Mutex<(usize, usize)>,
}

impl Progress {
    /// For so many cases.
    pub fn new(of: usize) -> Self {
        Self {
            of,
            shown: stderr().is_terminal(),
            counts: Mutex::default(),
        }
    }

    /// One more is over.
    pub fn over(&self, outcome: &CaseOutcome) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.0 += 1;
        counts.1 += usize::from(!outcome.is_as_expected());
        let failed = match counts.1 {
            0 => String::new(),
            failed => format!(", {failed} not as expected"),
        };
        self.write(&format!(
            "{}/{}{failed}  {}",
            counts.0, self.of, outcome.case
        ));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.write("");
    }

    fn write(&self, words: &str) {
        if self.shown {
            // A terminal that is gone is no reason to stop.
            let _ = write!(stderr(), "\r\x1b[2K{words}");
        }
    }
}
