//! The same cases, as often as was asked for.

use super::{
    files::{Written, evidence},
    progress::Progress,
};
use crate::{
    cli::run::Args,
    failure::Failure,
    outcome::{CaseOutcome, Difference, differences},
    suite::{Case, Players, Stop, play_all},
};

/// What came of all rounds.
pub(super) struct Rounds {
    /// Each case that was played: as it came out first, or the first time it was not as expected.
    pub cases: Vec<CaseOutcome>,
    /// What came out otherwise than in the first round.
    pub flaky: Vec<Difference>,
    /// Cases that were played, over all rounds.
    pub played: usize,
    /// Flows that were judged, over all rounds.
    pub flows: usize,
}

/// Plays all cases in each round.
///
/// # Errors
/// The evidence of a case that failed can't be written.
pub(super) fn rounds(
    args: &Args,
    cases: &[Case],
    players: Players,
    stop: &Stop,
) -> Result<Rounds, Failure> {
    let repeat = args.suite.repeat;
    let progress = Progress::new(repeat * cases.len());
    let mut first: Vec<Option<CaseOutcome>> = Vec::new();
    let mut told: Vec<Option<CaseOutcome>> = Vec::new();
    let (mut flaky, mut played, mut flows) = (Vec::new(), 0, 0);
    for round in 1..=repeat {
        let written = Written::default();
        let outcomes = play_all(cases, players, stop, |outcome, played| {
            progress.over(outcome);
            written.note(evidence(args, round, outcome, played));
        });
        progress.clear();
        written.result()?;
        for it in outcomes.iter().flatten() {
            played += 1;
            flows += it.flows.iter().filter(|it| it.verdict.is_some()).count();
        }
        if round == 1 {
            told.clone_from(&outcomes);
            first = outcomes;
            continue;
        }
        for ((first, told), now) in first.iter().zip(&mut told).zip(outcomes) {
            let (Some(first), Some(before), Some(now)) = (first, &told, now) else {
                continue;
            };
            flaky.extend(differences(first, &now, round));
            if before.is_as_expected() && !now.is_as_expected() {
                *told = Some(now);
            }
        }
        if stop.stopped().is_some() {
            break;
        }
    }
    Ok(Rounds {
        cases: told.into_iter().flatten().collect(),
        flaky,
        played,
        flows,
    })
}
