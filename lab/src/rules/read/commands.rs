//! Reads what `iptables -S` prints: the lines of a rule file, without the line that names the table.

use super::guess::{self, Mention};
use super::scan::is_silent;
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::parse::table::Open;
use crate::rules::set::RuleSet;
use crate::rules::words::Line;

pub(super) fn read(
    lines: &[Line<'_>],
    family: Family,
    mention: Option<&Mention>,
) -> Result<RuleSet, Diagnostic> {
    let mut set = RuleSet::empty(family);
    let spoken = || lines.iter().filter(|line| !is_silent(line));
    let Some(first) = spoken().next() else {
        return Ok(set);
    };
    let after = |option: [&'static str; 2]| {
        spoken().filter_map(move |line| {
            let mut words = line.text.split_whitespace();
            words.find(|word| option.contains(word))?;
            words.next()
        })
    };
    let builtin: Vec<&str> = after(["-P", "--policy"]).collect();
    let table = guess::table(first, mention, &builtin, after(["-j", "--jump"]))?;
    let mut open = Open::new(table, *first);
    for line in spoken() {
        open.command(*line, &line.words()?, family)?;
    }
    set.tables.insert(table, open.close()?);
    Ok(set)
}
