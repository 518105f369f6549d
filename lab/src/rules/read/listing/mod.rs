//! Reads the tables `iptables -L -v` prints: chains with their counters and rules in columns.
//!
//! A row is put back into the words of a rule file, each keeping its place in the row, and read as such: both forms
//! give equal rules, and a complaint points into the row. What a listing says and no rule file can say is kept as
//! an option of the match or target `listed`, which iptables has not, so such a rule cannot be loaded by mistake.

use super::guess::{self, Mention};
use super::scan::{is_chain, is_silent};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::options;
use crate::rules::parse::table::{Open, check_name, read_policy};
use crate::rules::rounded::{CountRange, Rounded};
use crate::rules::set::{Counter, Rule, RuleSet};
use crate::rules::words::{Line, Word};

mod conditions;
mod row;
mod services;
mod target;

use self::row::Columns;

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
    let chains = || spoken().filter(|line| is_chain(line));
    let builtin = chains().filter(|line| line.text.contains("(policy "));
    let builtin: Vec<&str> = builtin
        .filter_map(|line| line.text.split_whitespace().nth(1))
        .collect();
    let targets = spoken().flat_map(|line| line.text.split_whitespace().take(4));
    let table = guess::table(first, mention, &builtin, targets)?;
    let mut open = Open::new(table, *first);
    for line in chains() {
        declare(&mut open, *line)?;
    }
    let (mut chain, mut columns) = (String::new(), None);
    for line in spoken() {
        let words = line.plain_words();
        if is_chain(line) {
            chain = words.get(1).map(|it| it.text.clone()).unwrap_or_default();
            columns = None;
        } else if let Some(columns) = &columns {
            let row = row::translate(*line, &words, columns, family)?;
            let read = options::rule(*line, &row.words, family).map_err(|error| Diagnostic {
                help: error.help.or_else(|| numeric(&words)),
                ..error
            })?;
            open.jumps.extend(read.jump.map(|word| (*line, word)));
            let (counters, rounded) = row.counters;
            if let Some(chain) = open.rules.chain_mut(&chain) {
                chain.rules.push(Rule {
                    counters,
                    rounded,
                    ..Rule::new(read.spec)
                });
            }
        } else {
            columns = Some(Columns::read(*line, &words)?);
        }
    }
    set.tables.insert(table, open.close()?);
    Ok(set)
}

/// The repair of a row with names only its machine can resolve.
fn numeric(words: &[Word]) -> Option<String> {
    let names = words
        .iter()
        .any(|word| matches!(word.text.as_str(), "any" | "anywhere"));
    names.then(|| "`iptables -L -v -n` lists numbers instead of names".to_owned())
}

/// `Chain OUTPUT (policy ACCEPT 86721 packets, 5381K bytes)`, `Chain SUB (1 references)`
fn declare(open: &mut Open<'_>, line: Line<'_>) -> Result<(), Diagnostic> {
    let words = line.plain_words();
    let (Some(name), Some(what)) = (words.get(1), words.get(2)) else {
        return Err(line.error_all("a chain has a name, then its policy or its references"));
    };
    let trimmed = |word: &Word| {
        let text = word.text.trim_matches(['(', ')', ',']).to_owned();
        Word {
            text,
            ..word.clone()
        }
    };
    check_name(line, name)?;
    if what.text != "(policy" {
        open.rules.chain_or_new(&name.text);
        return Ok(());
    }
    let Some(policy) = words.get(3).map(trimmed) else {
        return Err(line.error(what, "a policy is missing"));
    };
    let policy = read_policy(line, &policy)?;
    let counted = match words.get(4..8) {
        Some([packets, _, bytes, _]) => Some((trimmed(packets), trimmed(bytes))),
        _ => None,
    };
    let Some(chain) = open
        .rules
        .chain_mut(&name.text)
        .filter(|it| it.policy.is_some())
    else {
        let message = format!("`{}` is no built-in chain of this table", name.text);
        return Err(line.error(name, message));
    };
    chain.policy = Some(policy);
    if let Some((packets, bytes)) = counted {
        (chain.policy_counters, chain.policy_rounded) = counters(line, &packets, &bytes)?;
    }
    Ok(())
}

/// The two numbers of a counter: exact, or rounded.
fn counters(
    line: Line<'_>,
    packets: &Word,
    bytes: &Word,
) -> Result<(Option<Counter>, Option<Rounded>), Diagnostic> {
    let range = |word: &Word| {
        let message = || format!("`{}` is not a count such as 52 or 5152K", word.text);
        CountRange::from_listing(&word.text).ok_or_else(|| line.error(word, message()))
    };
    let (packets, bytes) = (range(packets)?, range(bytes)?);
    Ok(match (packets.exact(), bytes.exact()) {
        (Some(packets), Some(bytes)) => (Some(Counter { packets, bytes }), None),
        _ => (None, Some(Rounded { packets, bytes })),
    })
}
