//! Texts that were written by others, such as an evidence file from elsewhere, on this person's terminal: colours
//! stay, everything else that a terminal obeys goes.

use std::borrow::Cow;

/// Takes the place of what was taken out.
const TAKEN_OUT: char = '\u{fffd}';

/// The text without control characters, but for line ends, tabs and colours (SGR, `ESC [ … m`).
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(obeyed) {
        out += &rest[..at];
        rest = &rest[at..];
        let length = match colour(rest) {
            Some(length) => {
                out += &rest[..length];
                length
            }
            None => {
                out.push(TAKEN_OUT);
                rest.chars().next().map_or(0, char::len_utf8)
            }
        };
        rest = &rest[length..];
    }
    out += rest;
    out.into()
}

/// Length of the colour that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::words("6.1.0\n\tHolds ✔", "6.1.0\n\tHolds ✔")]
    #[case::a_colour("\u{1b}[1;32mHolds\u{1b}[0m", "\u{1b}[1;32mHolds\u{1b}[0m")]
    #[case::a_clear_screen("a\u{1b}[2Jb", "a�[2Jb")]
    #[case::a_title("\u{1b}]0;root\u{7}", "�]0;root�")]
    #[case::a_line_taken_back("Refuted\rHolds", "Refuted�Holds")]
    #[case::one_byte_controls("\u{9b}2J", "�2J")]
    #[case::an_unfinished_one("\u{1b}[1;", "�[1;")]
    fn a_terminal_obeys_nothing_but_colours(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(harmless(text), shown);
    }
}
