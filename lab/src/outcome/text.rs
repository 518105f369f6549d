//! Cases as text: a table, and each failure with all that is known of it.

use std::fmt::Write as _;

use super::{CaseName, CaseOutcome, Difference, Figures, FlowOutcome};
use crate::{
    judge::Verdict,
    report::{Style, ms},
};

/// One line for each case, with what came out otherwise below it.
pub fn table(cases: &[CaseOutcome]) -> String {
    let width = |of: &dyn Fn(&CaseOutcome) -> usize| cases.iter().map(of).max().unwrap_or(0);
    let lab_width = width(&|it| it.case.lab.len()).max(3);
    let side_width = width(&|it| it.case.side.to_string().len()).max(7);
    let head = format!(
        "{:lab_width$}  {:side_width$}  {:10}  {:6}  {:10}  {:>8}",
        "lab", "variant", "backend", "family", "verdict", "time"
    );
    let mut text = format!("{}\n", Style::dim(&head));
    for it in cases {
        // The mark says whether it is as expected, the word what the verdict is.
        let mark = mark(it.is_as_expected());
        let verdict = verdict_words(it.verdict);
        let CaseName {
            lab,
            side,
            backend,
            family,
            ..
        } = &it.case;
        let _ = writeln!(
            text,
            "{lab:lab_width$}  {side:side_width$}  {:10}  {family:6}  {mark}{verdict:8}  {:>8}",
            backend.as_backend(),
            ms(it.took_us)
        );
        for words in &it.unexpected {
            let _ = writeln!(text, "    {}", words.replace('\n', "\n    "));
        }
    }
    text
}

fn mark(fine: bool) -> String {
    let verdict = match fine {
        true => Verdict::Holds,
        false => Verdict::Refuted,
    };
    Style::verdict(verdict, "", 0)
}

/// The word for a verdict, or for a case that could not be judged.
pub fn verdict_words(verdict: Option<Verdict>) -> String {
    verdict.map_or("failed".to_owned(), |it| it.to_string())
}

/// What failed, then what differed between rounds, then the figures.
pub fn failures(cases: &[CaseOutcome], flaky: &[Difference], figures: &Figures) -> String {
    let mut text = String::new();
    for case in cases.iter().filter(|it| !it.is_as_expected()) {
        if case.broke.is_none() {
            for flow in case.flows.iter().filter(|it| !it.is_as_expected()) {
                let _ = writeln!(text, "\n{}", failed_flow(&case.case, flow).trim_end());
            }
        }
        for words in &case.of_run {
            let head = Style::bold(&format!("{}: the whole run", case.case));
            let words = words.replace('\n', "\n  ");
            let _ = writeln!(text, "\n{head}\n  {words}");
            let _ = writeln!(text, "  alone     {}", case.case.command(None));
            let _ = writeln!(text, "  enter     {}", case.case.enter(None, None));
        }
    }
    for it in flaky {
        let head = Style::bold(&format!("{}: round {} differs", it.case, it.round));
        let _ = writeln!(
            text,
            "\n{head}\n  first     {}\n  now       {}",
            it.first, it.now
        );
    }
    if figures.cases > 1 {
        let _ = writeln!(text, "\nslowest:");
        for (case, took_us) in &figures.slowest {
            let _ = writeln!(text, "  {:>8}  {case}", ms(*took_us));
        }
    }
    let words = match figures.failed {
        0 => format!("{} cases, all as expected", figures.cases),
        wrong => format!("{wrong} of {} cases are not as expected", figures.cases),
    };
    let _ = writeln!(text, "\n{words}; {}", figures.words());
    text
}

/// All that is known of a flow that did not come out as expected.
pub(super) fn failed_flow(case: &CaseName, flow: &FlowOutcome) -> String {
    let head = format!("{case}: flow {}", flow.flow);
    let line = flow.line.map_or(String::new(), |it| format!(":{it}"));
    let mut text = format!(
        "{}\n  is        {}, and {} was expected ({}{line})\n",
        Style::bold(&head),
        verdict_words(flow.verdict),
        flow.wanted,
        case.file,
    );
    let mut pod = flow.pod.as_deref();
    if let Some(trouble) = &flow.trouble {
        let by = trouble.witness.as_ref();
        let by = by.map_or(String::new(), |it| format!(" ({it})"));
        let _ = writeln!(text, "  claim     {}", trouble.claim);
        let _ = writeln!(text, "  expected  {}", trouble.expected);
        let _ = writeln!(text, "  observed  {}{by}", trouble.observed);
        if let Some(hop) = &trouble.hop {
            let number = hop.number.map_or(String::new(), |it| format!("{it}, "));
            let _ = writeln!(text, "  hop       {number}in {}", hop.pod);
            let _ = writeln!(text, "            expected  {}", hop.expected);
            let _ = writeln!(text, "            observed  {}", hop.observed);
            pod = Some(hop.pod.as_str());
        }
        if let Some(rule) = &trouble.rule {
            let _ = writeln!(
                text,
                "  rule      {} `{}`: {}",
                rule.rule, rule.text, rule.why
            );
        }
    }
    let _ = writeln!(text, "  alone     {}", case.command(Some(&flow.flow)));
    let _ = writeln!(text, "  enter     {}", case.enter(Some(&flow.flow), pod));
    text
}
