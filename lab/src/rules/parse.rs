//! Reads rule files: the lines, tables and chains. What one rule says is read by `options`.
//!
//! Takes what istio-init writes (`* nat`, `-N`, `-A`, `-I`, `COMMIT`) and what `iptables-save [-c]` prints
//! (`*nat`, `:CHAIN POLICY [p:b]`, `[p:b] -A …`), in any mixture.

use super::id::{Family, Table};
use super::set::RuleSet;
use super::words::{self, Line, Word};
use crate::diagnostic::{Diagnostic, did_you_mean};

pub(super) mod table;

use self::table::Open;

/// Reads a rule file. `origin` names it in errors: a path, or the command that printed it.
///
/// # Errors
/// The first place that is not understood: broken quoting, an unknown table, a rule outside a table or for a chain
/// that does not exist, a jump to nowhere, a missing or bad value, an address of the other family, a table that is
/// never committed. Jumps are checked at `COMMIT`, so a chain may be declared after the rule that enters it.
pub fn parse(text: &str, family: Family, origin: &str) -> Result<RuleSet, Diagnostic> {
    lines(words::lines(text, origin), family)
}

/// Reads the lines of a rule file.
pub(super) fn lines<'a>(
    lines: impl IntoIterator<Item = Line<'a>>,
    family: Family,
) -> Result<RuleSet, Diagnostic> {
    let mut reader = Reader::upon(RuleSet::empty(family));
    for line in lines {
        reader.line(line)?;
    }
    match reader.open {
        Some(open) => Err(open
            .header
            .error_all(format!("table `{}` has no COMMIT", open.table))),
        None => Ok(reader.set),
    }
}

/// Reads lines upon the rules there are.
pub(super) struct Reader<'a> {
    set: RuleSet,
    open: Option<Open<'a>>,
}

impl<'a> Reader<'a> {
    /// A reader whose first line follows these rules.
    pub fn upon(set: RuleSet) -> Self {
        Self { set, open: None }
    }

    /// The rules of every table that was committed.
    pub fn into_set(self) -> RuleSet {
        self.set
    }

    /// Reads the next line.
    pub fn line(&mut self, line: Line<'a>) -> Result<(), Diagnostic> {
        let trimmed = line.text.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return Ok(());
        }
        let words = line.words()?;
        let Some(first) = words.first() else {
            return Ok(());
        };
        if trimmed.starts_with('*') {
            return self.header(line, &words);
        }
        let family = self.set.family;
        let Some(open) = self.open.as_mut() else {
            return Err(line.error(
                first,
                "this line stands outside a table; a table starts with a line such as `*nat`",
            ));
        };
        match first.text.as_str() {
            "COMMIT" if words.len() == 1 => self.commit(),
            declaration if declaration.starts_with(':') => open.declaration(line, &words),
            _ => open.command(line, &words, family),
        }
    }

    fn header(&mut self, line: Line<'a>, words: &[Word]) -> Result<(), Diagnostic> {
        if let Some(open) = &self.open {
            let header = open.header.number;
            return Err(line.error_all(format!(
                "table `{}` of line {header} has no COMMIT yet",
                open.table
            )));
        }
        // `*nat` and istio-init's `* nat` are the same header.
        let name: String = words.iter().map(|word| word.text.as_str()).collect();
        let name = name.trim_start_matches('*');
        let table = Table::ALL
            .into_iter()
            .find(|table| table.name() == name)
            .ok_or_else(|| {
                let mut error = line.error_all(format!("there is no table `{name}`"));
                error.help = did_you_mean(name, Table::ALL.map(Table::name));
                error
            })?;
        let mut open = Open::new(table, line);
        if let Some(known) = self.set.tables.get(&table) {
            open.rules = known.clone();
        }
        self.open = Some(open);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Diagnostic> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let table = open.table;
        self.set.tables.insert(table, open.close()?);
        Ok(())
    }
}
