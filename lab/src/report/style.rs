//! Colours, which are never the only sign: every verdict is also a word and a mark.

use anstyle::{AnsiColor, Style as Ansi};

use crate::judge::Verdict;

/// Styles of a report. `anstream` strips them where they are not wanted (NO_COLOR, no terminal).
#[derive(Debug, Clone, Copy)]
pub struct Style;

impl Style {
    /// Mark of a verdict.
    pub fn mark(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Holds => "✔",
            Verdict::Unproven => "?",
            Verdict::Refuted => "✗",
        }
    }

    /// Mark and word of a verdict, padded to `width` and coloured.
    pub fn verdict(verdict: Verdict, word: &str, width: usize) -> String {
        let colour = match verdict {
            Verdict::Holds => AnsiColor::Green,
            Verdict::Unproven => AnsiColor::Yellow,
            Verdict::Refuted => AnsiColor::Red,
        };
        let style = colour.on_default();
        let text = format!("{} {word}", Self::mark(verdict));
        let pad = " ".repeat(width.saturating_sub(text.chars().count()));
        format!("{style}{text}{style:#}{pad}")
    }

    /// Less important text.
    pub fn dim(text: &str) -> String {
        let style = Ansi::new().dimmed();
        format!("{style}{text}{style:#}")
    }

    /// A heading.
    pub fn bold(text: &str) -> String {
        let style = Ansi::new().bold();
        format!("{style}{text}{style:#}")
    }
}
