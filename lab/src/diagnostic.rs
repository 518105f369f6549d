//! A complaint about a text file: what, where (file, line, column), the line itself, how to fix it.

use std::fmt;

/// One complaint, printed as compilers print theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File or other origin of the text.
    pub origin: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Width to underline, in characters, at least 1.
    pub width: usize,
    /// The line as it stands in the file.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Locates a byte span of `text`. A span past the end points at the last character.
    pub fn at(
        origin: &str,
        text: &str,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let source_line = text[line_start..].lines().next().unwrap_or("").to_string();
        let column = text[line_start..start].chars().count() + 1;
        let room = source_line.chars().count().saturating_sub(column - 1);
        Self {
            origin: origin.to_string(),
            line: before.matches('\n').count() + 1,
            column,
            width: span.end.saturating_sub(span.start).clamp(1, room.max(1)),
            source_line,
            message: message.into(),
            help: None,
        }
    }

    /// Adds the repair.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len().max(4);
        writeln!(
            f,
            "{}:{}:{}: {}",
            self.origin, self.line, self.column, self.message
        )?;
        writeln!(f, "{:>gutter$} | {}", self.line, self.source_line)?;
        // Tabs before the column are kept so that the marker stays below its word.
        let pad: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "{:>gutter$} | {}{}", "", pad, "^".repeat(self.width))?;
        if let Some(help) = &self.help {
            write!(f, "\n{:>gutter$} = help: {}", "", help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The candidate nearest to `word`, when it is near enough to be what was meant.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is this long is not a typo of a name, and not worth the square of its length.
    if word.len() > 128 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    let (steps, name) = candidates
        .into_iter()
        .map(|c| (edit_distance(word, c), c))
        .min()?;
    (steps <= limit).then_some(name)
}

/// The repair of a typo: "did you mean `…`?", when a candidate is near enough.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
}

/// Levenshtein distance in characters, ignoring ASCII case.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_below_its_line() {
        let text = "one\n\ttwo three\n";
        let d = Diagnostic::at("f.toml", text, 9..14, "no three").help("say two");
        assert_eq!(
            d.to_string(),
            "f.toml:2:6: no three\n   2 | \ttwo three\n     | \t    ^^^^^\n     = help: say two"
        );
    }

    #[test]
    fn a_span_past_the_end_does_not_panic() {
        let d = Diagnostic::at("f", "x", 40..50, "m");
        assert_eq!((d.line, d.column, d.width), (1, 2, 1));
    }

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(
            nearest("ISTIO_INBOUN", ["ISTIO_INBOUND", "OUTPUT"]),
            Some("ISTIO_INBOUND")
        );
        assert_eq!(nearest("zebra", ["ISTIO_INBOUND", "OUTPUT"]), None);
    }
}
