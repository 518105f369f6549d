//! What a rule set does to traffic, so that two can be compared: the flows that could tell them apart, what the model
//! says of each under either set, what a kernel did, and what of it differs. Pure; the kernel is asked by `probe`.
//!
//! Rules are compared by what they do to a flow (marks, zones, translations, where it ends), never by their text or
//! place: two sets that do the same are alike whatever backend, order or syntax they are written in.

mod answer;
mod blind;
mod candidates;
mod changes;
mod choice;
mod compare;
mod constants;
mod course;
mod coverage;
mod flow;
mod mutant;
mod mutation;
mod pattern;
mod seen;
mod snapshot;
mod stage;
mod subject;
mod validation;

pub use blind::{BlindSpot, blind_spots};
pub use candidates::candidates;
pub use changes::{Change, Effect};
pub use choice::{Choice, Sampling, choose, landings};
pub use compare::{Comparison, Decided, Difference, Disagreement, Explained, Group, Ran, compare};
pub use course::{Arrival, Course, End, Hop, Place, course};
pub use coverage::{Coverage, Covered, Met, Reach, cover};
pub use flow::{Flow, Origin};
pub use mutant::{Mutant, mutants};
pub use mutation::{Expected, Fate, Judged, NoticedByLab, Score, completed, expected, judge};
pub use pattern::Pattern;
pub use seen::{ProbeReport, Seen, SeenEnd};
pub use snapshot::{Entry, HookEntry, Snapshot, Verified};
pub use stage::{INTERFACE, Stage};
pub use subject::Subject;
pub use validation::Validation;

#[cfg(test)]
mod tests;
