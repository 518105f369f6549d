//! Figures of a run of cases.

use serde::Serialize;

use super::CaseOutcome;

/// Cases that are named as the slowest.
const SLOWEST: usize = 10;

/// How much was played, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Cases.
    pub cases: usize,
    /// Those that did not come out as their lab file says.
    pub failed: usize,
    /// How often all of them were to be played.
    pub rounds: usize,
    /// Flows that were sent in the kernel and judged, over all cases and rounds.
    pub flows: usize,
    /// Microseconds for all.
    pub took_us: u64,
    /// How many ran side by side.
    pub jobs: usize,
    /// The slowest cases with their microseconds, the slowest first.
    pub slowest: Vec<(String, u64)>,
}

impl Figures {
    /// Those of cases that were played once, side by side, `jobs` at once.
    pub fn of(cases: &[CaseOutcome], took_us: u64, jobs: usize) -> Self {
        let mut by_time: Vec<&CaseOutcome> = cases.iter().collect();
        by_time.sort_by_key(|it| std::cmp::Reverse(it.took_us));
        let slowest = by_time.iter().take(SLOWEST);
        let judged = cases.iter().flat_map(|it| &it.flows);
        Self {
            cases: cases.len(),
            rounds: 1,
            failed: cases.iter().filter(|it| !it.is_as_expected()).count(),
            flows: judged.filter(|it| it.verdict.is_some()).count(),
            took_us,
            jobs,
            slowest: slowest
                .map(|it| (it.case.to_string(), it.took_us))
                .collect(),
        }
    }

    /// `62 cases, 391 flows in 12.3 s (32 flows a second, 4 cases at once)`
    pub fn words(&self) -> String {
        let seconds = self.took_us as f64 / 1e6;
        let rate = match self.took_us {
            0 => 0.0,
            _ => self.flows as f64 / seconds,
        };
        let rounds = match self.rounds {
            1 => String::new(),
            rounds => format!("{rounds} rounds of "),
        };
        format!(
            "{rounds}{} cases, {} flows in {seconds:.1} s ({rate:.0} flows a second, {} cases at once)",
            self.cases, self.flows, self.jobs
        )
    }
}
