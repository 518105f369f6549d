//! Why a rule text cannot be read, and where: printed as compilers do.

use std::fmt;

use thiserror::Error;

/// A place in a rule text that is not a rule set.
///
/// `Display` prints the place, the line with the words marked, and a suggestion when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ParseError {
    /// The file or command the text came from.
    pub origin: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters the complaint covers; at least 1.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What was probably meant: a lowercase fragment.
    pub suggestion: Option<String>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            line,
            column,
            message,
            text,
            ..
        } = self;
        writeln!(f, "{origin}:{line}:{column}: {message}")?;
        writeln!(f, "{line:>4} | {}", text.trim_end())?;
        let before = text.chars().take(column.saturating_sub(1));
        let indent: String = before.map(|it| if it == '\t' { it } else { ' ' }).collect();
        write!(f, "     | {indent}{}", "^".repeat(self.width))?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n help: {suggestion}"),
            None => Ok(()),
        }
    }
}

/// The nearest of `known` to what was written, when it is near enough to be a typo of it.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A chain name has at most 28 bytes: what is much longer is not a typo of one, and not worth the square of its length.
    if wrong.len() > 128 {
        return None;
    }
    let limit = (wrong.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|name| (distance(wrong, name), name));
    let (steps, name) = distances.min()?;
    (steps <= limit).then(|| format!("did you mean `{name}`?"))
}

/// Levenshtein distance in characters, ignoring ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let kept = diagonal + usize::from(!from.eq_ignore_ascii_case(to));
            diagonal = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
