//! Finds the lines of a text that are rules.

use super::{Form, guess, nft};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Table;
use crate::rules::words::Line;

/// Lines in a row that are one dump.
pub(super) struct Block<'l, 'a> {
    pub form: Form,
    /// Index of the first line.
    pub start: usize,
    /// Index after the last line.
    pub end: usize,
    all: &'l [Line<'a>],
}

impl<'l, 'a> Block<'l, 'a> {
    pub fn lines(&self) -> &'l [Line<'a>] {
        &self.all[self.start..self.end]
    }

    /// The tables a rule file names.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        self.lines().iter().filter_map(|line| table(line))
    }
}

/// Whether a line says nothing: blank, or a comment.
pub(super) fn is_silent(line: &Line<'_>) -> bool {
    let text = line.text.trim();
    text.is_empty() || text.starts_with('#')
}

/// The table a line such as `*nat` or `* nat` opens.
fn table(line: &Line<'_>) -> Option<Table> {
    let name = line.text.trim().strip_prefix('*')?.trim();
    Table::ALL.into_iter().find(|table| table.name() == name)
}

/// `-A`, `--append`: a dash, then a letter or another dash.
fn is_command(line: &Line<'_>) -> bool {
    let mut characters = line.text.chars();
    let dash = characters.next() == Some('-');
    let next = characters.next().unwrap_or(' ');
    dash && (next.is_ascii_alphabetic() || (next == '-' && characters.next() != Some('-')))
}

/// `Chain OUTPUT (policy ACCEPT)`, `Chain SUB (1 references)`
pub(super) fn is_chain(line: &Line<'_>) -> bool {
    let mut words = line.text.split_whitespace();
    words.next() == Some("Chain")
        && words.next().is_some()
        && words.next().is_some_and(|word| word.starts_with('('))
}

/// The built-in chain a `-P` names.
fn policy<'a>(line: &Line<'a>) -> Option<&'a str> {
    let mut words = line.text.split_whitespace();
    let command = words.next()?;
    matches!(command, "-P" | "--policy").then(|| words.next())?
}

/// The dumps of a text.
///
/// # Errors
/// The text starts with rules, and a later line is no part of any.
pub(super) fn blocks<'l, 'a>(all: &'l [Line<'a>]) -> Result<Vec<Block<'l, 'a>>, Diagnostic> {
    let mut blocks = Vec::new();
    let mut at = 0;
    // Whether a line that is no rule was seen, so that the text is about more than rules.
    let mut prose = false;
    while let Some(line) = all.get(at) {
        let header = line.text.trim_start().starts_with('*') && (!prose || table(line).is_some());
        let (form, end) = if is_silent(line) {
            at += 1;
            continue;
        } else if header {
            tables(all, at)
        } else if is_command(line) {
            (Form::Commands, commands(all, at))
        } else if is_chain(line) {
            (Form::Listing, listing(all, at))
        } else if nft::starts(line) {
            (Form::Nft, braced(all, at, nft::starts))
        } else if starts_json(&all[at..]) {
            (Form::NftJson, braced(all, at, |_| false))
        } else if prose || blocks.is_empty() {
            prose = true;
            at += 1;
            continue;
        } else {
            let message = "this line is no part of a rule set";
            return Err(line.error_all(message));
        };
        let start = at;
        blocks.push(Block {
            form,
            start,
            end,
            all,
        });
        at = end;
    }
    Ok(blocks)
}

/// Tables up to their COMMITs; a table that comes again is of another dump, and so is one that the command of the
/// other family printed.
fn tables(all: &[Line<'_>], start: usize) -> (Form, usize) {
    let mut seen = vec![all[start].text.trim()];
    let mut form = Form::Restore;
    let mut end = start + 1;
    let mut open = true;
    let printed_by = |line: &Line<'_>| guess::command(line.text).map(|it| it.family);
    let family = all[..start].iter().rev().find_map(printed_by);
    for (index, line) in all.iter().enumerate().skip(start + 1) {
        let text = line.text.trim();
        if open {
            end = index + 1;
            open = text != "COMMIT";
            if text.starts_with(':') {
                form = Form::Save;
            }
            continue;
        }
        if is_silent(line) {
            let other = |it| family.is_some_and(|family| family != it);
            if printed_by(line).is_some_and(other) {
                break;
            }
            continue;
        }
        let same =
            |it: &&str| it.trim_start_matches(['*', ' ']) == text.trim_start_matches(['*', ' ']);
        if table(line).is_none() || seen.iter().any(same) {
            break;
        }
        seen.push(text);
        (open, end) = (true, index + 1);
    }
    (form, end)
}

fn commands(all: &[Line<'_>], start: usize) -> usize {
    let mut policies = Vec::new();
    let mut end = start;
    for (index, line) in all.iter().enumerate().skip(start) {
        if is_silent(line) {
            continue;
        }
        if !is_command(line) {
            break;
        }
        if let Some(chain) = policy(line) {
            if policies.contains(&chain) {
                break;
            }
            policies.push(chain);
        }
        end = index + 1;
    }
    end
}

fn listing(all: &[Line<'_>], start: usize) -> usize {
    let mut chains: Vec<&str> = Vec::new();
    let mut end = start;
    // Rows follow each other; a blank line ends those of a chain.
    let mut rows = false;
    for (index, line) in all.iter().enumerate().skip(start) {
        if is_chain(line) {
            let name = line.text.split_whitespace().nth(1).unwrap_or_default();
            if chains.contains(&name) {
                break;
            }
            chains.push(name);
            rows = true;
        } else if line.text.trim().is_empty() {
            rows = false;
            continue;
        } else if line.text.starts_with('#') {
            continue;
        } else if !rows || guess::command(line.text).is_some_and(|it| it.lists) {
            // The next command of a terminal session may follow at once.
            break;
        }
        end = index + 1;
    }
    end
}

/// Whether the lines start with `{"nftables"`, with white space anywhere in it.
fn starts_json(lines: &[Line<'_>]) -> bool {
    const START: &str = "{\"nftables\"";
    // A line of its own for each of the three parts is as far apart as they get.
    let lines = lines.iter().take(4);
    let solid = lines
        .flat_map(|line| line.text.chars())
        .filter(|it| !it.is_whitespace());
    solid.take(START.len()).eq(START.chars())
}

/// The lines up to the one that closes the last brace, and those that follow while they `start` the same.
fn braced(all: &[Line<'_>], start: usize, starts: impl Fn(&Line<'_>) -> bool) -> usize {
    let mut depth = 0_usize;
    let mut end = start;
    for (index, line) in all.iter().enumerate().skip(start) {
        if depth == 0 && index > start && !joined(&all[index - 1]) {
            if is_silent(line) {
                continue;
            }
            if !starts(line) {
                break;
            }
        }
        depth = depth_after(line, depth);
        end = index + 1;
    }
    end
}

/// Whether a line goes on in the next.
fn joined(line: &Line<'_>) -> bool {
    line.text.trim_end().ends_with('\\')
}

/// How many braces are open after a line, those in quotes left out.
fn depth_after(line: &Line<'_>, before: usize) -> usize {
    let mut depth = before;
    let mut quoted = false;
    let mut characters = line.text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => _ = characters.next(),
            '#' if !quoted => break,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}
