//! Where a verb gets rules from: what a person names on the command line, as text with its origin.

use std::{convert::Infallible, fs, io::Read as _, path::PathBuf, str::FromStr};

use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    rules::{self, Document, Family},
};

/// What the help of a verb says of its SOURCE.
pub(super) const HELP: &str = "\
Rules in any form a person has (restore file, iptables-save, -S, -L -v, istio-init log); \
`-` is standard input";

/// Rules as a person names them. A file called `-` is `./-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`
    StandardInput,
    /// A path.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::StandardInput,
            path => Self::File(path.into()),
        })
    }
}

/// A text with rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// What it is called in complaints: a path, or the command that printed it.
    pub origin: String,
    /// The text, in any form [`rules::read`] takes.
    pub text: String,
}

impl Text {
    /// The rules in it. `family` is taken where the text itself does not tell.
    ///
    /// # Errors
    /// The first complaint about the text as a whole: no rules, or something else among them.
    pub fn read(&self, family: Family) -> Result<Document, Failure> {
        rules::read(&self.text, &self.origin, family).map_err(complaint)
    }
}

/// A complaint about a text, for the command line.
pub(super) fn complaint(diagnostic: Diagnostic) -> Failure {
    Failure::new(Class::Input, diagnostic.to_string())
}

impl Source {
    /// Every text of the source, each to be read by itself. There is at least one.
    ///
    /// # Errors
    /// It can't be read, or is not text.
    pub fn open(&self) -> Result<Vec<Text>, Failure> {
        self.open_one().map(|text| vec![text])
    }

    /// The text of a source that has one.
    ///
    /// # Errors
    /// As [`Source::open`], and when there are several.
    pub fn open_one(&self) -> Result<Text, Failure> {
        let (origin, text) = match self {
            Self::StandardInput => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                ("standard input".to_owned(), read.map(|_| text))
            }
            Self::File(path) => (path.display().to_string(), fs::read_to_string(path)),
        };
        let text = text.map_err(|error| {
            Failure::new(Class::Input, format!("could not read {origin}")).cause(error.to_string())
        })?;
        Ok(Text { origin, text })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Source;

    #[rstest]
    #[case::dash("-", Source::StandardInput)]
    #[case::path("rules.txt", Source::File("rules.txt".into()))]
    #[case::a_file_called_dash("./-", Source::File("./-".into()))]
    fn an_argument_names_its_source(#[case] argument: &str, #[case] source: Source) {
        assert_eq!(argument.parse(), Ok(source));
    }
}
