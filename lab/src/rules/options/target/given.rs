//! The options given to a target, taken one by one.

use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::words::{Line, Word};

/// Options with their values.
pub(super) struct Given<'a> {
    pub line: Line<'a>,
    /// The word that names the target.
    pub target: &'a Word,
    pub family: Family,
    /// Whether the rule is for one protocol with ports.
    pub ported: bool,
    options: Vec<(&'a Word, &'a [&'a Word])>,
}

impl<'a> Given<'a> {
    pub fn new(
        line: Line<'a>,
        target: &'a Word,
        family: Family,
        ported: bool,
        words: &'a [&'a Word],
    ) -> Self {
        let mut options = Vec::new();
        let mut rest = words;
        while let Some((option, after)) = rest.split_first() {
            let values = after.iter().take_while(|word| !word.is_option()).count();
            let (values, next) = after.split_at(values);
            options.push((*option, values));
            rest = next;
        }
        Self {
            line,
            target,
            family,
            ported,
            options,
        }
    }

    /// Whether every option was taken.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty()
    }

    /// Takes an option under any of its names with its one value.
    pub fn value(&mut self, names: &[&str]) -> Result<Option<&'a Word>, Diagnostic> {
        Ok(self.option(names)?.map(|(_, value)| value))
    }

    /// As [`Given::value`], with the word that names the option.
    pub fn option(&mut self, names: &[&str]) -> Result<Option<(&'a Word, &'a Word)>, Diagnostic> {
        let Some((option, values)) = self.take(names)? else {
            return Ok(None);
        };
        match values {
            [value] => Ok(Some((option, *value))),
            [] => {
                let message = format!("`{}` needs a value", option.text);
                Err(self.line.error(option, message))
            }
            [_, extra, ..] => {
                let message = format!("`{}` takes one value", option.text);
                Err(self.line.error(extra, message))
            }
        }
    }

    /// Takes an option without a value.
    pub fn flag(&mut self, name: &str) -> Result<bool, Diagnostic> {
        match self.take(&[name])? {
            None => Ok(false),
            Some((_, [])) => Ok(true),
            Some((option, [extra, ..])) => {
                let message = format!("`{}` takes no value", option.text);
                Err(self.line.error(extra, message))
            }
        }
    }

    /// A number the option's value must be.
    pub fn number<T: std::str::FromStr>(
        &mut self,
        names: &[&str],
    ) -> Result<Option<T>, Diagnostic> {
        let Some((option, word)) = self.option(names)? else {
            return Ok(None);
        };
        word.text.parse().map(Some).map_err(|_| {
            let message = format!("`{}` is not a number `{}` takes", word.text, option.text);
            self.line.error(word, message)
        })
    }

    fn take(&mut self, names: &[&str]) -> Result<Option<(&'a Word, &'a [&'a Word])>, Diagnostic> {
        let at = |(option, _): &(&Word, &[&Word])| names.contains(&option.text.as_str());
        let Some(found) = self.options.iter().position(at) else {
            return Ok(None);
        };
        let taken = self.options.remove(found);
        match self.options.iter().find(|it| at(it)) {
            Some((again, _)) => {
                let message = format!("`{}` is given twice", again.text);
                Err(self.line.error(again, message))
            }
            None => Ok(Some(taken)),
        }
    }
}
