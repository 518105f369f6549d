//! Splits one line into words the way `iptables-restore` does, and remembers where each stood.

use crate::diagnostic::Diagnostic;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The text, quotes and escapes resolved.
    pub text: String,
    /// Column of the first character in the line, from 1.
    pub column: usize,
    /// How many characters it takes in the line.
    pub width: usize,
    /// Whether any of it stood in quotes: such a word is a value, never an option.
    pub quoted: bool,
}

impl Word {
    /// Whether the word starts an option, or is the `!` before one.
    pub fn is_option(&self) -> bool {
        !self.quoted && (self.text == "!" || (self.text.len() > 1 && self.text.starts_with('-')))
    }
}

/// A line under work: where it stands, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// File or command.
    pub origin: &'a str,
    /// Number, from 1.
    pub number: usize,
    /// Text without the line end.
    pub text: &'a str,
}

/// The lines of a text.
pub(super) fn lines<'a>(text: &'a str, origin: &'a str) -> impl Iterator<Item = Line<'a>> {
    (1..).zip(text.lines()).map(move |(number, text)| Line {
        origin,
        number,
        text,
    })
}

impl Line<'_> {
    /// A complaint about some characters of the line.
    pub fn error_at(&self, column: usize, width: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            origin: self.origin.to_owned(),
            line: self.number,
            column,
            width: width.max(1),
            source_line: self.text.trim_end().to_owned(),
            message: message.into(),
            help: None,
        }
    }

    /// A complaint about a word.
    pub fn error(&self, word: &Word, message: impl Into<String>) -> Diagnostic {
        self.error_at(word.column, word.width, message)
    }

    /// A complaint about a word, with a suggestion.
    pub fn error_with(
        &self,
        word: &Word,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            help: suggestion,
            ..self.error(word, message)
        }
    }

    /// A complaint about the whole line.
    pub fn error_all(&self, message: impl Into<String>) -> Diagnostic {
        self.error_at(1, self.text.trim_end().chars().count(), message)
    }

    /// The words of the line with quotes as they stand, for texts that have no quoting.
    pub fn plain_words(&self) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        let mut inside = false;
        for (column, character) in (1..).zip(self.text.chars()) {
            let blank = character.is_whitespace();
            match words.last_mut().filter(|_| inside && !blank) {
                Some(word) => {
                    word.text.push(character);
                    word.width += 1;
                }
                None if blank => {}
                None => words.push(Word {
                    text: character.to_string(),
                    column,
                    width: 1,
                    quoted: false,
                }),
            }
            inside = !blank;
        }
        words
    }

    /// The words of the line. Double quotes join, a backslash inside them takes the next character as it is.
    pub fn words(&self) -> Result<Vec<Word>, Diagnostic> {
        let mut words: Vec<Word> = Vec::new();
        let mut open: Option<Word> = None;
        let mut quote: Option<usize> = None;
        let mut characters = (1..).zip(self.text.chars());
        while let Some((column, character)) = characters.next() {
            if quote.is_none() && character.is_whitespace() {
                words.extend(open.take());
                continue;
            }
            let word = open.get_or_insert_with(|| Word {
                text: String::new(),
                column,
                width: 0,
                quoted: false,
            });
            word.width = column + 1 - word.column;
            match (character, quote) {
                ('"', None) => {
                    quote = Some(column);
                    word.quoted = true;
                }
                ('"', Some(_)) => quote = None,
                ('\\', Some(_)) => word
                    .text
                    .extend(characters.next().map(|(_, escaped)| escaped)),
                (other, _) => word.text.push(other),
            }
        }
        if let Some(column) = quote {
            return Err(self.error_at(column, 1, "this quote is never closed"));
        }
        words.extend(open);
        Ok(words)
    }
}
