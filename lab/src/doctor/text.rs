//! The checks as text: a mark and a word for each, the problems with what follows and what to do.

use std::fmt::Write as _;

use anstyle::AnsiColor;

use super::{
    ability::Ability,
    check::{Check, NeededBy, Outcome},
};
use crate::report::Style;

/// Columns of a line that holds several checks.
const WIDTH: usize = 100;
/// Columns of an id.
const ID: usize = 27;
/// Columns before the text of a check: mark, word, id.
const INDENT: usize = 15 + ID;

/// All checks by group, then what can run here. Rules that work share a line unless `verbose`.
pub fn text(checks: &[Check], verbose: bool) -> String {
    let mut out = String::new();
    let mut rest = checks;
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|c| c.group == first.group).count();
        let (group, others) = rest.split_at(length);
        rest = others;
        let _ = writeln!(out, "{}", Style::bold(&first.group));
        let mut shared: Vec<&Check> = Vec::new();
        for check in group {
            // What works and has nothing more to say than its name.
            let silent = matches!(&check.outcome, Outcome::Works { detail } if detail.is_empty());
            if silent && !verbose {
                shared.push(check);
                continue;
            }
            flush(&mut out, &mut shared);
            one(&mut out, check);
        }
        flush(&mut out, &mut shared);
        out.push('\n');
    }
    let ability = Ability::of(checks);
    let colour = if ability.any() {
        AnsiColor::Green
    } else {
        AnsiColor::Red
    };
    let mark = if ability.any() { "✔" } else { "✗" };
    let style = colour.on_default();
    let _ = writeln!(out, "{style}{mark} {}{style:#}", ability.sentence());
    out
}

fn one(out: &mut String, check: &Check) {
    let (head, words) = match &check.outcome {
        Outcome::Works { detail } if detail.is_empty() => (head(check), check.tried.clone()),
        Outcome::Works { detail } => (head(check), detail.clone()),
        Outcome::Problem(problem) => (head(check), problem.to_string()),
        Outcome::Skipped { because } => (head(check), format!("`{because}` has to work first")),
    };
    let mut lines = words.lines();
    let _ = writeln!(out, "{head}{}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
}

/// Mark, word and id, padded to [`INDENT`].
fn head(check: &Check) -> String {
    let (mark, word, colour) = match (&check.outcome, check.needed_by) {
        (Outcome::Works { .. }, _) => ("✔", "works", AnsiColor::Green),
        (Outcome::Problem(_), NeededBy::EveryLab | NeededBy::OrdinaryUser) => {
            ("✗", "can't", AnsiColor::Red)
        }
        (Outcome::Problem(_), _) => ("✗", "can't", AnsiColor::Yellow),
        (Outcome::Skipped { .. }, _) => ("–", "not tried", AnsiColor::BrightBlack),
    };
    let style = colour.on_default();
    let id = &check.id;
    format!("  {style}{mark} {word:9}{style:#} {id:ID$} ")
}

/// Checks that share one entry, wrapped.
fn flush(out: &mut String, shared: &mut Vec<&Check>) {
    let [first, ..] = shared[..] else { return };
    let mut lines = vec![String::new()];
    for (i, check) in shared.iter().enumerate() {
        let end = if i + 1 < shared.len() { ", " } else { "" };
        let piece = format!("{}{end}", check.tried);
        let last = lines.last().map_or(0, |l| l.chars().count());
        if last > 0 && INDENT + last + piece.trim_end().chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&piece);
        }
    }
    let mut joined = first.clone();
    joined.id = format!("{} rules", shared.len());
    joined.outcome = Outcome::Works {
        detail: lines
            .iter()
            .map(|l| l.trim_end())
            .collect::<Vec<_>>()
            .join("\n"),
    };
    one(out, &joined);
    shared.clear();
}
