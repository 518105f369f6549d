//! The same cases again and again: what differs between rounds is a flake.

use serde::Serialize;

use super::{CaseOutcome, text::verdict_words};

/// A case, or a flow of it, that came out otherwise in some rounds than in the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The case, by its name.
    pub case: String,
    /// The round, from 1.
    pub round: usize,
    /// What was in the first round.
    pub first: String,
    /// What was in this one.
    pub now: String,
}

/// What differs between a case in the first round and in another one.
pub fn differences(first: &CaseOutcome, now: &CaseOutcome, round: usize) -> Vec<Difference> {
    let pairs = words(first).into_iter().zip(words(now));
    let differing = pairs.filter(|(first, now)| first != now);
    differing
        .map(|(first, now_words)| Difference {
            case: now.case.to_string(),
            round,
            first,
            now: now_words,
        })
        .collect()
}

/// What a case came out as, line by line: its flows, then the whole run.
fn words(case: &CaseOutcome) -> Vec<String> {
    let flows = case.flows.iter();
    let mut all: Vec<String> = flows
        .map(|it| format!("flow {}: {}", it.flow, verdict_words(it.verdict)))
        .collect();
    all.push(match case.of_run.is_empty() {
        true => "the run is as expected".to_owned(),
        false => case.of_run.join("; "),
    });
    all
}
