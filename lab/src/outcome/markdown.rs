//! Cases as Markdown: the summary of a CI run.

use std::fmt::Write as _;

use super::{CaseOutcome, Difference, Figures, text};
use crate::report::ms;

/// Failures that are shown whole: GitHub takes 1 MiB for a step's summary, and a person reads a few.
const MOST_SHOWN: usize = 20;

/// What failed, what differed between rounds, the slowest cases.
pub fn markdown(cases: &[CaseOutcome], flaky: &[Difference], figures: &Figures) -> String {
    let mut out = String::from("### hoplab\n\n");
    let _ = match figures.failed {
        0 => writeln!(out, "All as expected: {}.", figures.words()),
        wrong => writeln!(out, "**{wrong} not as expected**: {}.", figures.words()),
    };
    let failed: Vec<&CaseOutcome> = cases.iter().filter(|it| !it.is_as_expected()).collect();
    if !failed.is_empty() {
        out.push_str("\n| lab | variant | backend | family | verdict | not as expected |\n|---|---|---|---|---|---|\n");
        for it in &failed {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                it.case.lab,
                cell(&it.case.side.to_string()),
                it.case.backend.as_backend(),
                it.case.family,
                text::verdict_words(it.verdict),
                cell(&it.unexpected.join("; ")),
            );
        }
    }
    let mut shown = 0;
    for case in failed.iter().filter(|it| it.broke.is_none()) {
        for flow in case.flows.iter().filter(|it| !it.is_as_expected()) {
            shown += 1;
            if shown > MOST_SHOWN {
                continue;
            }
            let words = plain(&text::failed_flow(&case.case, flow));
            let head = format!("{}: {}", case.case, flow.flow);
            let _ = writeln!(
                out,
                "\n<details><summary>{head}</summary>\n\n{}\n</details>",
                fenced(&words)
            );
        }
    }
    if shown > MOST_SHOWN {
        let _ = writeln!(out, "\nAnd {} more flows.", shown - MOST_SHOWN);
    }
    for it in flaky {
        let _ = writeln!(
            out,
            "\nRound {} of `{}` differs: {}; in the first round: {}.",
            it.round, it.case, it.now, it.first
        );
    }
    out.push_str("\n<details><summary>The slowest cases</summary>\n\n| case | time |\n|---|---|\n");
    for (case, took_us) in &figures.slowest {
        let _ = writeln!(out, "| {} | {} |", cell(case), ms(*took_us));
    }
    out.push_str("\n</details>\n");
    out
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// A code block whose fence no line of the text can end.
fn fenced(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{}\n{fence}\n", text.trim_end())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "<br>")
}
