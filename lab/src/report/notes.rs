//! The notes' steps and table as text.

use std::fmt::Write as _;

use super::{
    Detail, Style,
    text::{width, witnesses},
};
use crate::judge::{Finding, NotesVerdict, Reading, Step, Verdict};

/// Writes both readings and the table.
pub(super) fn write(out: &mut String, notes: &NotesVerdict, detail: Detail) {
    for reading in &notes.readings {
        self::reading(out, reading, detail);
    }
    if detail > Detail::Quiet || notes.table.verdict != Verdict::Holds {
        table(out, notes);
    }
}

fn reading(out: &mut String, reading: &Reading, detail: Detail) {
    if detail > Detail::Quiet {
        let _ = writeln!(
            out,
            "{}",
            Style::bold(&format!("the notes' 15 steps, {}", reading.title))
        );
    }
    for step in &reading.steps {
        if detail == Detail::Quiet && step.as_expected() {
            continue;
        }
        let word = if step.half_true() {
            "half true".to_string()
        } else {
            step.verdict.to_string()
        };
        let _ = writeln!(
            out,
            "{:>3}  {}  {}",
            step.number,
            Style::verdict(step.verdict, &word, 11),
            step.text
        );
        parts(out, step, detail);
        if let Some(instead) = &step.instead {
            let _ = writeln!(out, "{:18}instead: {instead}", "");
        }
        if !step.as_expected() {
            let _ = writeln!(
                out,
                "{:18}this is not what the kernel did when the lab was written",
                ""
            );
        }
    }
    if detail > Detail::Quiet {
        out.push('\n');
    }
}

fn parts(out: &mut String, step: &Step, detail: Detail) {
    for part in &step.parts {
        let prefix = if step.parts.len() > 1 {
            format!("{} {}: ", Style::mark(part.verdict), part.claim.text)
        } else {
            String::new()
        };
        let who = witnesses(part.claim.checks.iter().map(|c| &c.witness));
        let _ = writeln!(
            out,
            "{:18}{}",
            "",
            Style::dim(&format!("{prefix}{} [{who}]", part.evidence))
        );
        if detail == Detail::Verbose || part.verdict != part.expected {
            for check in &part.claim.checks {
                let _ = writeln!(out, "{:20}{}", "", Style::dim(&check.to_string()));
            }
        }
    }
}

fn table(out: &mut String, notes: &NotesVerdict) {
    let table = &notes.table;
    let word = table.verdict.to_string();
    let _ = writeln!(
        out,
        "{}  {}",
        Style::bold(&format!("the notes' counter table beside {}", table.pod)),
        Style::verdict(table.verdict, &word, 0)
    );
    let width = width(table.rows.iter().map(|r| r.text.as_str()), "rule");
    let head = format!("  {:width$}  {:>9}  {:>9}", "rule", "notes", "lab");
    let _ = writeln!(out, "{}", Style::dim(&head));
    for row in &table.rows {
        let packets = row.packets.map_or("?".to_string(), |p| p.to_string());
        let _ = writeln!(out, "  {:width$}  {:>9}  {packets:>9}", row.text, row.notes);
    }
    for check in table
        .claim
        .checks
        .iter()
        .filter(|c| c.finding != Finding::Agrees)
    {
        let _ = writeln!(out, "  {check}");
    }
    out.push('\n');
}

/// One clause for the last line of the report.
pub(super) fn words(notes: &NotesVerdict) -> String {
    let steps: Vec<&Step> = notes.readings.iter().flat_map(|r| &r.steps).collect();
    let half = steps.iter().filter(|s| s.half_true()).count();
    let count = |v: Verdict| {
        steps
            .iter()
            .filter(|s| !s.half_true() && s.verdict == v)
            .count()
    };
    let mut words = format!(
        "of 2 × 15 steps {} hold, {half} are half true, {} refuted",
        count(Verdict::Holds),
        count(Verdict::Refuted)
    );
    if count(Verdict::Unproven) > 0 {
        let _ = write!(words, ", {} unproven", count(Verdict::Unproven));
    }
    let surprising = steps.iter().filter(|s| !s.as_expected()).count();
    match (surprising, notes.table.verdict) {
        (0, Verdict::Holds) => words.push_str(", as expected"),
        (0, verdict) => {
            let _ = write!(
                words,
                ", as expected; their table {}",
                verdict.to_string().to_lowercase()
            );
        }
        (n, _) => {
            let _ = write!(words, ", {n} not as expected");
        }
    }
    words
}
