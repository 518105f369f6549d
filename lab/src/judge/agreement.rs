//! Model against kernel: what the rules in the pods were predicted to do, and what they counted.

use std::{collections::BTreeMap, iter::Sum};

use serde::Serialize;

use super::{Check, Witness};
use crate::{
    predict::{Moves, Range},
    rules::{Counter, CounterDelta, RuleId},
};

/// By pod, what the model predicts of a window from the rules in the pods.
pub(super) type Predicted = BTreeMap<String, Moves>;

/// How many predictions of the model the kernel bore out. One comparison is one rule of one pod in one flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Rules that moved by as much as predicted.
    pub moved: u64,
    /// Of these, predicted to the packet.
    pub exactly: u64,
    /// Rules that did not move, as predicted.
    pub still: u64,
    /// Rules that moved by more or less.
    pub disagreed: u64,
}

impl Agreement {
    /// Compares every rule of a pod.
    pub(super) fn of(predicted: &Moves, counted: &CounterDelta) -> Self {
        let mut agreement = Self::default();
        for (rule, counter) in counted.rules() {
            let wanted = predicted.of(rule);
            match (wanted.contains(counter.packets), counter.packets) {
                (false, _) => agreement.disagreed += 1,
                (true, 0) => agreement.still += 1,
                (true, _) => {
                    agreement.moved += 1;
                    agreement.exactly += u64::from(wanted.only().is_some());
                }
            }
        }
        agreement
    }
}

impl Sum for Agreement {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, it| Self {
            moved: sum.moved + it.moved,
            exactly: sum.exactly + it.exactly,
            still: sum.still + it.still,
            disagreed: sum.disagreed + it.disagreed,
        })
    }
}

/// Did the kernel count what the model predicts from the rules in the pod? A finding for every rule it did not. Of a
/// rule that has no counter, the kernel says nothing.
pub(super) fn checks(predicted: &Moves, counted: &CounterDelta) -> Vec<Check> {
    let wrong = counted
        .rules()
        .iter()
        .filter(|(rule, counter)| !predicted.of(rule).contains(counter.packets));
    let contradiction = |(rule, counter): (&RuleId, &Counter)| {
        let range: Range = predicted.of(rule);
        Check::contradicts(
            Witness::Model,
            format!("{rule} {range}, predicted from the rules in the pod"),
            format!("+{} by the kernel", counter.packets),
        )
    };
    let found: Vec<Check> = wrong.map(contradiction).collect();
    match found.is_empty() {
        true => vec![Check::agrees(Witness::Model)],
        false => found,
    }
}
