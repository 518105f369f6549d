//! What two rule sets do to flows, for people and machines. Pure.

mod difference;
mod json;
mod markdown;
mod mutants;

pub use difference::text;
pub use json::json;
pub use markdown::markdown;
pub use mutants::{Labs, Mutated};

use crate::{
    behaviour::{BlindSpot, Choice, Comparison, Hop, Stage, Subject},
    rules::{Family, RuleSet, Table, diff},
};

/// What was compared, and how.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// One side.
    pub a: &'a Subject,
    /// The other.
    pub b: &'a Subject,
    /// The flows that ran.
    pub choice: &'a Choice,
    /// Addresses of the pod and of another machine.
    pub stage: &'a Stage,
    /// Time the slower side took for them, microseconds.
    pub took_us: u64,
    /// Rules that only one side has and that ask for what no flow varies.
    pub spots: &'a [BlindSpot],
    /// Show how the rules themselves differ.
    pub text: bool,
}

impl About<'_> {
    /// How much was tried, in one sentence.
    fn tried(&self) -> String {
        let Choice {
            flows,
            kinds,
            asked,
            ..
        } = self.choice;
        let sample = flows.len() - kinds;
        format!(
            "{} flows ran under both in {:.2} s: one of each of {kinds} kinds, and {sample} of the other {} that the \
             model calls alike",
            flows.len(),
            self.took_us as f64 / 1e6,
            asked - kinds
        )
    }

    /// Families that only one side has rules for, one line each.
    fn one_sided(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in [Family::V4, Family::V6] {
            let has = |it: &Subject| it.families().any(|of| of == family);
            match (has(self.a), has(self.b)) {
                (true, false) => lines.push(format!("B has no {family} rules")),
                (false, true) => lines.push(format!("A has no {family} rules")),
                _ => {}
            }
        }
        lines
    }

    /// The addresses that flows name.
    fn addresses(&self) -> String {
        let families: std::collections::BTreeSet<Family> =
            self.choice.flows.iter().map(|it| it.family()).collect();
        let words = families.into_iter().map(|family| {
            format!(
                "the pod is {}, {} another machine",
                self.stage.pod(family),
                self.stage.peer(family)
            )
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// How the rules themselves differ, one line each.
    fn rules(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in [Family::V4, Family::V6] {
            let nothing = RuleSet::empty(family);
            let of = |it: &'_ Subject| it.rules(family).cloned().unwrap_or_else(|| nothing.clone());
            let differences = diff(&of(self.a), &of(self.b), &Table::ALL);
            lines.extend(differences.iter().map(|it| format!("{family}: {it}")));
        }
        lines
    }
}

/// A verdict in one line.
fn verdict(comparison: &Comparison) -> String {
    let tried: usize = comparison.groups.iter().map(|it| 1 + it.others.len()).sum();
    match comparison.groups.len() {
        0 => "They do the same to every flow tried.".to_owned(),
        1 => format!("They differ in 1 flow ({}).", of_its_kind(tried)),
        flows => format!("They differ in {flows} flows ({}).", of_its_kind(tried)),
    }
}

/// What differs in a port that does not matter is one flow, however many are tried.
fn of_its_kind(tried: usize) -> String {
    match tried {
        1 => "1 was tried".to_owned(),
        tried => format!("{tried} of the kind were tried"),
    }
}

/// The rules met at each hook, one line a hook.
fn hop_lines(hops: &[Hop]) -> Vec<String> {
    let met = hops.iter().filter(|hop| !hop.rules.is_empty());
    let lines = met.map(|hop| {
        let rules: Vec<String> = hop.rules.iter().map(ToString::to_string).collect();
        format!("{}: {}", hop.hook, rules.join(", "))
    });
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => vec!["no rule matched".to_owned()],
        false => lines,
    }
}
