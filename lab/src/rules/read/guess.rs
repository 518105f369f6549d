//! What a text tells, beside its rules, of the family and table they are of.

use std::net::IpAddr;

use super::scan::{Block, is_silent};
use super::{Dump, Form};
use crate::diagnostic::Diagnostic;
use crate::rules::id::{Family, Table};
use crate::rules::words::Line;

/// A command of iptables named near a dump, in a shell prompt, a log or a comment.
pub(super) struct Mention {
    pub family: Family,
    /// `-t nat`; `None` when it names none, which means filter for `-S` and `-L`.
    pub table: Option<Table>,
    /// Whether it is a command that prints one table.
    pub lists: bool,
}

/// The last command named before a dump, or in the comments at its head.
pub(super) fn mention(before: &[Line<'_>], block: &[Line<'_>]) -> Option<Mention> {
    let head = block.iter().take_while(|line| is_silent(line));
    let lines = before.iter().chain(head);
    lines.filter_map(|line| command(line.text)).last()
}

/// The last command of iptables named in a line.
pub(super) fn command(text: &str) -> Option<Mention> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let program = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let name = name.trim_matches(|it: char| !it.is_ascii_alphanumeric());
        let known = name.starts_with("iptables") || name.starts_with("ip6tables");
        // A file name is no command: `iptables-rules-16505.txt`.
        known && !name.contains("rules")
    };
    let at = words.iter().rposition(program)?;
    let (name, rest) = (words[at], &words[at + 1..]);
    let table = rest
        .iter()
        .zip(rest.iter().skip(1))
        .find(|(option, _)| matches!(**option, "-t" | "--table"))
        .and_then(|(_, table)| Table::ALL.into_iter().find(|it| it.name() == *table));
    let lists = |word: &&str| {
        let short = word.starts_with('-') && !word.starts_with("--");
        matches!(*word, "--list" | "--list-rules") || (short && word.contains(['L', 'S']))
    };
    Some(Mention {
        family: if name.contains("ip6tables") {
            Family::V6
        } else {
            Family::V4
        },
        table,
        lists: rest.iter().any(lists),
    })
}

/// The family of the first address in the rules.
pub(super) fn family(block: &[Line<'_>]) -> Option<Family> {
    let rules = block.iter().filter(|line| !is_silent(line));
    let mut words = rules.flat_map(|line| line.text.split_whitespace());
    words.find_map(|word| {
        let word = word.trim_start_matches(['!', '[']);
        let address = word.split(['/', ']']).next()?;
        Some(Family::of(address.parse::<IpAddr>().ok()?))
    })
}

/// The family of a rule file that follows another at once: a table that comes again is the IPv6 one.
pub(super) fn next_family(last: &Dump, block: &Block<'_, '_>) -> Family {
    let files = |form| matches!(form, Form::Restore | Form::Save);
    let again = match &last.rules {
        Ok(rules) => block.tables().any(|it| rules.tables.contains_key(&it)),
        Err(_) => false,
    };
    if files(last.form) && files(block.form) && again {
        return Family::V6;
    }
    last.family
}

/// That nothing but its place tells the family of a rule file.
pub(super) fn guessed(family: Family, first: &Line<'_>) -> Diagnostic {
    let message = format!("taken as {family}: its table comes a second time, and no address tells");
    let remark = first.error_all(message);
    remark
        .help("if it is not, put the program that reads it in front, such as `# iptables-restore`")
}

/// The table of a dump that does not name it, from the command that printed it, the targets only one table has, and
/// the built-in chains it lists.
///
/// # Errors
/// None of them tells.
pub(super) fn table<'a>(
    first: &Line<'_>,
    mention: Option<&Mention>,
    builtin: &[&str],
    targets: impl Iterator<Item = &'a str>,
) -> Result<Table, Diagnostic> {
    if let Some(mention) = mention.filter(|it| it.table.is_some() || it.lists) {
        return Ok(mention.table.unwrap_or(Table::Filter));
    }
    let owner = |target: &str| match target {
        "REDIRECT" | "DNAT" | "SNAT" | "MASQUERADE" | "NETMAP" => Some(Table::Nat),
        "CT" | "NOTRACK" => Some(Table::Raw),
        "TPROXY" => Some(Table::Mangle),
        "REJECT" => Some(Table::Filter),
        _ => None,
    };
    if let Some(table) = { targets }.find_map(owner) {
        return Ok(table);
    }
    let lists = |table: &Table| builtin.iter().all(|it| table.builtin_chains().contains(it));
    let exact = |table: &Table| lists(table) && table.builtin_chains().len() == builtin.len();
    let fits: Vec<Table> = Table::ALL.into_iter().filter(lists).collect();
    let only = || match fits[..] {
        [table] => Some(table),
        _ => None,
    };
    fits.iter()
        .copied()
        .find(exact)
        .or_else(only)
        .ok_or_else(|| {
            let mut error = first.error_all("cannot tell which table these rules are of");
            error.help = Some(
                "put the command that printed them in front, such as `# iptables -t nat -S`"
                    .to_owned(),
            );
            error
        })
}
