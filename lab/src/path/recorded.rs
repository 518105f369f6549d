//! The path of a flow from the evidence of its run.

use std::collections::BTreeMap;

use super::{Leg, Path, notes, observed::observed, walk::Walk, witnesses};
use crate::{
    evidence::{Evidence, Quiet, Window},
    failure::Failure,
    judge::{self, Case, connections::ends, matching::match_legs, picked},
    lab_file::LabFile,
    predict::{Turns, predict},
    topology::Flow,
};

/// The path of one window of a run. `flow` is what was sent in it, which need not be a flow of the lab file.
///
/// # Errors
/// The evidence holds rules that can't be read.
pub fn of_window(
    file: &LabFile,
    evidence: &Evidence,
    window: &Window,
    flow: &Flow,
) -> Result<Path, Failure> {
    let case = Case::new(file, evidence, window.family)?;
    let mut turns = Turns::default();
    let before = evidence
        .windows
        .iter()
        .take_while(|it| !std::ptr::eq(*it, window));
    for earlier in before.filter(|it| it.family == window.family) {
        turns.observe(&case.meant(), &earlier.records);
    }
    let held = case.held().picking(picked(window));
    turns.follow(&held, &window.records);
    let predicted = predict(&held, flow, &mut turns);
    let ends = ends(&window.records);
    let matching = match_legs(&predicted, &ends, window);
    let walk = Walk {
        world: &held,
        window,
        imagined: false,
    };
    let seen = observed(&matching, window);
    let legs = seen.iter().zip(1..).map(|(observed, number)| {
        let mut leg = Leg {
            number,
            ..walk.leg(observed)
        };
        witnesses::add(&mut leg, observed, window);
        leg
    });
    let mut path = Path {
        flow: window.flow.clone(),
        from: flow.from.to_string(),
        to: flow.to.to_string(),
        family: window.family,
        answer: judge::answer_words(&window.outcome),
        open: match &window.quiet {
            Quiet::Closed => Vec::new(),
            Quiet::Deadline(open) => open.clone(),
        },
        lost: window.lost.iter().map(ToString::to_string).collect(),
        legs: legs.collect(),
    };
    path.number();
    if file.topology.notes.is_some() {
        notes::annotate(&mut path, &file.interception);
    }
    Ok(path)
}

/// The connections and hops that a flow would have under the rules that were meant, by the model alone: there and not
/// back, with the endpoints that the proxies took in the window.
///
/// # Errors
/// The evidence holds rules that can't be read.
pub fn meant(
    file: &LabFile,
    evidence: &Evidence,
    window: &Window,
    flow: &Flow,
) -> Result<Vec<Leg>, Failure> {
    let case = Case::new(file, evidence, window.family)?;
    let meant = case.meant().picking(picked(window));
    let mut turns = Turns::default();
    turns.follow(&meant, &window.records);
    let predicted = predict(&meant, flow, &mut turns);
    let blank = Window {
        records: Vec::new(),
        of_held: Vec::new(),
        conntrack: BTreeMap::new(),
        traces: BTreeMap::new(),
        ..window.clone()
    };
    let matching = match_legs(&predicted, &[], &blank);
    let walk = Walk {
        world: &meant,
        window: &blank,
        imagined: true,
    };
    let legs = observed(&matching, &blank);
    let legs = legs.iter().zip(1..).map(|(observed, number)| Leg {
        number,
        ..walk.leg(observed)
    });
    Ok(legs.collect())
}
