//! Reads rule files: the lines, tables and chains. What one rule says is read by `options`.
//!
//! Takes what istio-init writes (`* nat`, `-N`, `-A`, `-I`, `COMMIT`) and what `iptables-save [-c]` prints
//! (`*nat`, `:CHAIN POLICY [p:b]`, `[p:b] -A …`), in any mixture.

use super::id::{Family, Table};
use super::options;
use super::set::{Chain, RuleSet, TableRules};
use super::target::Target;
use super::words::{Line, Word};
use crate::diagnostic::{Diagnostic, did_you_mean};

mod table;

use self::table::Open;

/// Reads a rule file. `origin` names it in errors: a path, or the command that printed it.
///
/// # Errors
/// The first place that is not understood: broken quoting, an unknown table, a rule outside a table or for a chain
/// that does not exist, a jump to nowhere, a missing or bad value, an address of the other family, a table that is
/// never committed. Jumps are checked at `COMMIT`, so a chain may be declared after the rule that enters it.
pub fn parse(text: &str, family: Family, origin: &str) -> Result<RuleSet, Diagnostic> {
    let mut reader = Reader {
        set: RuleSet::empty(family),
        open: None,
    };
    for (number, text) in (1..).zip(text.lines()) {
        reader.line(Line {
            origin,
            number,
            text,
        })?;
    }
    match reader.open {
        Some(open) => Err(open
            .header
            .error_all(format!("table `{}` has no COMMIT", open.table))),
        None => Ok(reader.set),
    }
}

struct Reader<'a> {
    set: RuleSet,
    open: Option<Open<'a>>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: Line<'a>) -> Result<(), Diagnostic> {
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
        let known = self.set.tables.get(&table).cloned();
        self.open = Some(Open {
            table,
            header: line,
            rules: known.unwrap_or_else(|| TableRules::empty(table)),
            jumps: Vec::new(),
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Diagnostic> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        for (line, word) in &open.jumps {
            let name = word.text.as_str();
            match open.rules.chain(name) {
                Some(Chain { policy: None, .. }) => {}
                Some(_) => {
                    return Err(line.error(
                        word,
                        format!("a rule cannot jump to the built-in chain `{name}`"),
                    ));
                }
                None => {
                    let user = open
                        .rules
                        .chains()
                        .iter()
                        .filter(|chain| chain.policy.is_none());
                    let mut known: Vec<&str> = user.map(|chain| chain.name.as_str()).collect();
                    for target in options::TARGETS.into_iter().chain(Target::extensions()) {
                        known.push(target);
                    }
                    let message = format!("chain `{name}` does not exist");
                    return Err(line.error_with(word, message, did_you_mean(name, known)));
                }
            }
        }
        self.set.tables.insert(open.table, open.rules);
        Ok(())
    }
}
