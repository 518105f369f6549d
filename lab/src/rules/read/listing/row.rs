//! The columns of a row, put back into the words of a rule file.

use super::{conditions, counters, target};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::rounded::Rounded;
use crate::rules::set::Counter;
use crate::rules::target::Target;
use crate::rules::words::{Line, Word};

/// What the line of column names tells.
pub(super) struct Columns {
    /// `--line-numbers`
    numbered: bool,
    /// Where the target column starts.
    target: usize,
}

impl Columns {
    pub fn read(line: Line<'_>, words: &[Word]) -> Result<Self, Diagnostic> {
        let column = |name: &str| words.iter().find(|word| word.text == name);
        let Some(target) = column("target").filter(|_| column("prot").is_some()) else {
            return Err(line.error_all("expected the names of the columns, `pkts bytes target …`"));
        };
        if column("pkts").is_none() || column("in").is_none() {
            let mut error = line.error_all("this listing leaves the interfaces of its rules out");
            error.help = Some("list with `iptables -L -v -n`".to_owned());
            return Err(error);
        }
        Ok(Self {
            numbered: column("num").is_some(),
            target: target.column,
        })
    }
}

/// A row as read.
pub(super) struct Row {
    /// The words of the rule, as after `-A CHAIN`.
    pub words: Vec<Word>,
    pub counters: (Option<Counter>, Option<Rounded>),
}

/// A word with another text, in the same place. It is a value, unless it names an option.
pub(super) fn put(word: &Word, text: impl Into<String>) -> Word {
    let text = text.into();
    Word {
        quoted: !(text.starts_with('-') || text == "!"),
        text,
        ..word.clone()
    }
}

/// A value that may look like an option.
pub(super) fn value(word: &Word, text: impl Into<String>) -> Word {
    Word {
        text: text.into(),
        quoted: true,
        ..word.clone()
    }
}

pub(super) fn translate(
    line: Line<'_>,
    words: &[Word],
    columns: &Columns,
    family: Family,
) -> Result<Row, Diagnostic> {
    let short = || line.error_all("this row has too few columns");
    let mut rest = words
        .get(usize::from(columns.numbered)..)
        .ok_or_else(short)?;
    let (packets, bytes) = (next(&mut rest, short)?, next(&mut rest, short)?);
    let counters = counters(line, packets, bytes)?;
    let opt = |at: usize| {
        let word = rest.get(at).map_or("", |word| word.text.as_str());
        matches!(word, "--" | "-f" | "!f")
    };
    // A rule without a target leaves its column blank; ip6tables before 1.8.9 leaves `opt` blank.
    let (has_target, has_opt) = match (opt(1), opt(2)) {
        (true, _) => (false, true),
        (_, true) => (true, true),
        _ => (
            rest.first().is_none_or(|it| it.column <= columns.target),
            false,
        ),
    };
    let target = match has_target {
        true => Some(next(&mut rest, short)?),
        false => None,
    };
    let mut row = Vec::new();
    let protocol = next(&mut rest, short)?;
    push(&mut row, protocol, "-p", &["all", "0", "ip"]);
    if has_opt {
        let word = next(&mut rest, short)?;
        match word.text.as_str() {
            "-f" => row.push(put(word, "-f")),
            "!f" => row.extend([put(word, "!"), put(word, "-f")]),
            _ => {}
        }
    }
    for option in ["-i", "-o"] {
        push(&mut row, next(&mut rest, short)?, option, &["*", "any"]);
    }
    for option in ["-s", "-d"] {
        let word = address(next(&mut rest, short)?, family);
        push(&mut row, &word, option, &["anywhere", "0.0.0.0/0", "::/0"]);
    }
    let goto = rest.first().is_some_and(|word| word.text == "[goto]");
    rest = &rest[usize::from(goto)..];
    let after = conditions::read(line, rest, &mut row)?;
    match target {
        None => conditions::listed(line, after, &mut row),
        Some(name) if Target::is_extension(&name.text) => target::read(line, name, after, &mut row),
        Some(name) => {
            conditions::listed(line, after, &mut row);
            row.extend([
                put(name, if goto { "-g" } else { "-j" }),
                put(name, &name.text),
            ]);
        }
    }
    Ok(Row {
        words: row,
        counters,
    })
}

fn next<'w>(rest: &mut &'w [Word], short: impl Fn() -> Diagnostic) -> Result<&'w Word, Diagnostic> {
    let (word, after) = rest.split_first().ok_or_else(short)?;
    *rest = after;
    Ok(word)
}

/// The names listings without `-n` print for loopback, from /etc/hosts and /etc/networks.
fn address(word: &Word, family: Family) -> Word {
    let loopback = match family {
        Family::V4 => "127.0.0.1",
        Family::V6 => "::1",
    };
    let text = match word.text.as_str() {
        "localhost" => loopback.to_owned(),
        "!localhost" => format!("!{loopback}"),
        "loopback/8" => "127.0.0.0/8".to_owned(),
        "!loopback/8" => "!127.0.0.0/8".to_owned(),
        other => other.to_owned(),
    };
    Word {
        text,
        ..word.clone()
    }
}

/// Adds an option with the value of a column, unless the column stands for every packet.
fn push(row: &mut Vec<Word>, word: &Word, option: &str, every: &[&str]) {
    let (negated, text) = match word.text.strip_prefix('!') {
        Some(text) => (true, text),
        None => (false, word.text.as_str()),
    };
    if every.contains(&text) && !negated {
        return;
    }
    row.extend(negated.then(|| put(word, "!")));
    row.extend([put(word, option), value(word, text)]);
}
