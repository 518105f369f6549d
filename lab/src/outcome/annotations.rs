//! Failures as GitHub's workflow commands, which show them beside the lines of the lab file.

use std::fmt::Write as _;

use super::{CaseOutcome, text};

/// A line `::error …` for each flow and each case that did not come out as expected.
pub fn github(cases: &[CaseOutcome]) -> String {
    let mut out = String::new();
    for case in cases.iter().filter(|it| !it.is_as_expected()) {
        let source = case.case.source();
        let file = source.map_or(String::new(), |it| format!("file={},", property(it)));
        // Lines are those of the lab file.
        let is_lab = source == Some(&case.case.file);
        if case.broke.is_none() {
            for flow in case.flows.iter().filter(|it| !it.is_as_expected()) {
                let line = flow.line.filter(|_| is_lab);
                let line = line.map_or(String::new(), |it| format!("line={it},"));
                let title = property(&format!("{}: {}", case.case, flow.flow));
                let words = message(&text::failed_flow(&case.case, flow));
                let _ = writeln!(out, "::error {file}{line}title={title}::{words}");
            }
        }
        for words in &case.of_run {
            let title = property(&case.case.to_string());
            let words = message(&format!("{words}\nalone: {}", case.case.command(None)));
            let _ = writeln!(out, "::error {file}title={title}::{words}");
        }
    }
    out
}

/// As GitHub's runner reads it back: `escapeData` of actions/toolkit.
fn message(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.trim_end().replace('\r', "%0D").replace('\n', "%0A")
}

/// `escapeProperty` there.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_message_or_a_property_is_escaped() {
        assert_eq!(message("50%\nof: a,b\r\n"), "50%25%0Aof: a,b");
        assert_eq!(property("a:b,c\nd"), "a%3Ab%2Cc%0Ad");
    }
}
