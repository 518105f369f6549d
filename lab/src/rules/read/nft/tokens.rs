//! The words of nft's language, and where each stands.

use super::ruleset::Spot;
use crate::diagnostic::Diagnostic;
use crate::rules::words::Line;

#[derive(Debug, Clone)]
pub(super) struct Token<'a> {
    /// The word, quotes taken off; `\n` for the end of a line.
    pub text: String,
    /// Whether it stood in quotes: such a word is a name, never a keyword.
    pub quoted: bool,
    pub at: Spot<'a>,
}

impl Token<'_> {
    /// Whether it is this keyword or mark.
    pub fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }

    pub fn is_line_end(&self) -> bool {
        self.is("\n")
    }

    /// As a text would have it.
    pub fn written(&self) -> String {
        if self.quoted {
            format!("\"{}\"", self.text)
        } else {
            self.text.clone()
        }
    }
}

/// Marks that end a word.
const MARKS: &str = "{}();,";

/// The words of some lines. A backslash at the end of a line joins it to the next; `#` starts a remark.
///
/// # Errors
/// A quote is never closed.
pub(super) fn tokens<'a>(lines: &[Line<'a>]) -> Result<Vec<Token<'a>>, Diagnostic> {
    let mut tokens = Vec::new();
    for line in lines {
        let joined = one_line(*line, &mut tokens)?;
        if !joined {
            let column = line.text.chars().count() + 1;
            tokens.push(token(*line, column, 1, "\n", false));
        }
    }
    Ok(tokens)
}

fn token<'a>(
    line: Line<'a>,
    column: usize,
    width: usize,
    text: impl Into<String>,
    quoted: bool,
) -> Token<'a> {
    let at = Spot {
        line,
        column,
        width,
    };
    Token {
        text: text.into(),
        quoted,
        at,
    }
}

/// Says whether the line goes on in the next.
fn one_line<'a>(line: Line<'a>, tokens: &mut Vec<Token<'a>>) -> Result<bool, Diagnostic> {
    let mut characters = (1..).zip(line.text.chars()).peekable();
    while let Some((column, character)) = characters.next() {
        if character.is_whitespace() {
            continue;
        }
        match character {
            '#' => return Ok(false),
            '\\' if characters.clone().all(|(_, rest)| rest.is_whitespace()) => return Ok(true),
            '"' => {
                let mut text = String::new();
                loop {
                    match characters.next() {
                        Some((_, '"')) => break,
                        Some((_, inside)) => text.push(inside),
                        None => {
                            return Err(line.error_at(column, 1, "this quote is never closed"));
                        }
                    }
                }
                let width = text.chars().count() + 2;
                tokens.push(token(line, column, width, text, true));
            }
            mark if MARKS.contains(mark) => {
                tokens.push(token(line, column, 1, mark, false));
            }
            first => {
                let mut text = String::from(first);
                let goes_on = |it: &char| !it.is_whitespace() && !MARKS.contains(*it) && *it != '"';
                while let Some((_, next)) = characters.next_if(|(_, it)| goes_on(it)) {
                    text.push(next);
                }
                let width = text.chars().count();
                tokens.push(token(line, column, width, text, false));
            }
        }
    }
    Ok(false)
}

/// Words over which a reader goes, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t, 'a> {
    pub rest: &'t [Token<'a>],
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub fn new(rest: &'t [Token<'a>]) -> Self {
        Self { rest }
    }

    pub fn peek(&self) -> Option<&'t Token<'a>> {
        self.rest.first()
    }

    pub fn next(&mut self) -> Option<&'t Token<'a>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Takes the next word if it is this one.
    pub fn take(&mut self, word: &str) -> bool {
        let there = self.peek().is_some_and(|it| it.is(word));
        if there {
            self.next();
        }
        there
    }

    /// The next word, if a reading of it succeeds.
    pub fn take_as<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let token = self.peek().filter(|it| !it.quoted)?;
        let value = read(&token.text)?;
        self.next();
        Some(value)
    }

    /// A word that may be a name, quoted or not.
    pub fn name(&mut self) -> Option<&'t str> {
        let marks = |it: &Token<'_>| !it.quoted && (it.is_line_end() || MARKS.contains(&it.text));
        let token = self.peek().filter(|it| !marks(it))?;
        self.next();
        Some(token.text.as_str())
    }

    pub fn skip_line_ends(&mut self) {
        while self.peek().is_some_and(Token::is_line_end) {
            self.next();
        }
    }
}
