//! The words of match extensions in a row, as each extension's `print` function writes them.

use super::row::{put, value};
use super::services;
use crate::diagnostic::Diagnostic;
use crate::rules::words::{Line, Word};

/// Puts the conditions at the start of `words` into the row; returns the words after them.
pub(super) fn read<'w>(
    line: Line<'_>,
    words: &'w [Word],
    row: &mut Vec<Word>,
) -> Result<&'w [Word], Diagnostic> {
    let mut rest = words;
    while !rest.is_empty() {
        let taken = one(line, rest, row)?;
        if taken == 0 {
            break;
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(rest)
}

/// Keeps what is not understood, flagged as such.
pub(super) fn listed(line: Line<'_>, words: &[Word], row: &mut Vec<Word>) {
    if let Some(first) = words.first() {
        row.extend([
            put(first, "-m"),
            put(first, "listed"),
            put(first, "--words"),
        ]);
        row.push(value(first, raw(line, words)));
    }
}

/// The text of the line from the first of the words on.
pub(super) fn raw(line: Line<'_>, words: &[Word]) -> String {
    let start = words.first().map_or(usize::MAX, |word| word.column - 1);
    let text: String = line.text.chars().skip(start).collect();
    text.trim_end().to_owned()
}

/// How many words a condition takes; 0 when the first word starts none.
fn one(line: Line<'_>, words: &[Word], row: &mut Vec<Word>) -> Result<usize, Diagnostic> {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    let negated = text(0) == "!";
    let first = usize::from(negated);
    let from = |at: usize| words.get(at).unwrap_or(&words[0]);
    let needs = |at: usize| {
        let complaint = || line.error(&words[0], format!("`{}` needs a value", text(first)));
        words.get(at).ok_or_else(complaint)
    };
    let mut add = |module: &str, negated: bool, option: &str, values: &[(&Word, &str)]| {
        let here = &words[0];
        if !module.is_empty() {
            row.extend([put(here, "-m"), put(here, module)]);
        }
        row.extend(negated.then(|| put(here, "!")));
        row.push(put(here, option));
        row.extend(values.iter().map(|(word, text)| value(word, *text)));
    };
    Ok(match text(first) {
        // The name alone is what `-m tcp` without an option prints.
        "tcp" | "udp" if !negated => 1,
        word if !negated && is_port(word) => {
            port(&words[0], &mut add);
            1
        }
        "owner" if matches!(text(first + 1), "UID" | "GID") && text(first + 2) == "match" => {
            let option = match text(first + 1) {
                "UID" => "--uid-owner",
                _ => "--gid-owner",
            };
            let id = needs(first + 3)?;
            add("owner", negated, option, &[(id, &id.text)]);
            first + 4
        }
        "owner" if text(first + 1) == "socket" && text(first + 2) == "exists" => {
            add("owner", negated, "--socket-exists", &[]);
            first + 3
        }
        "ctstate" | "state" => {
            let states = needs(first + 1)?;
            add("conntrack", negated, "--ctstate", &[(states, &states.text)]);
            first + 2
        }
        module @ ("mark" | "connmark") if !negated && text(1) == "match" => {
            let at = if text(2) == "!" { 3 } else { 2 };
            let mark = needs(at)?;
            add(module, at == 3, "--mark", &[(mark, &mark.text)]);
            at + 1
        }
        "multiport" if !negated => {
            let option = format!("--{}", text(1));
            let ports = needs(2)?;
            let (negated, list) = sign(&ports.text);
            let list = services::ports(list);
            add("multiport", negated, &option, &[(ports, &list)]);
            3
        }
        "ADDRTYPE" if !negated && text(1) == "match" => {
            let mut at = 2;
            while let option @ ("src-type" | "dst-type") = text(at) {
                let kinds = needs(at + 1)?;
                let (negated, list) = sign(&kinds.text);
                add(
                    "addrtype",
                    negated,
                    &format!("--{option}"),
                    &[(kinds, list)],
                );
                at += 2;
            }
            while let option @ ("limit-in" | "limit-out") = text(at) {
                let option = option.replace("limit-", "--limit-iface-");
                add("addrtype", false, &option, &[]);
                at += 1;
            }
            at
        }
        "/*" if !negated => {
            let Some(end) = words.iter().position(|word| word.text == "*/") else {
                return Err(line.error(&words[0], "this comment is never closed"));
            };
            let characters = line.text.chars();
            let width = from(end).column.saturating_sub(words[0].column + 3);
            let comment: String = characters.skip(words[0].column + 2).take(width).collect();
            let comment = comment.strip_suffix(' ').unwrap_or(&comment);
            add("comment", false, "--comment", &[(&words[0], comment)]);
            end + 1
        }
        _ => 0,
    })
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

fn is_port(word: &str) -> bool {
    let names = ["spt:", "spts:", "dpt:", "dpts:", "flags:"];
    names.iter().any(|name| word.starts_with(name))
}

/// `dpt:80`, `spts:!1:1023`, `flags:0x17/0x02`
fn port(word: &Word, add: &mut impl FnMut(&str, bool, &str, &[(&Word, &str)])) {
    let (name, given) = word.text.split_once(':').unwrap_or((&word.text, ""));
    let (negated, given) = sign(given);
    if name == "flags" {
        let (mask, wanted) = given.split_once('/').unwrap_or((given, ""));
        let (mask, wanted) = (services::flags(mask), services::flags(wanted));
        add(
            "",
            negated,
            "--tcp-flags",
            &[(word, &mask), (word, &wanted)],
        );
        return;
    }
    let option = if name.starts_with('s') {
        "--sport"
    } else {
        "--dport"
    };
    add("", negated, option, &[(word, &services::ports(given))]);
}
