//! The words of target extensions in a row, as each extension's `print` function writes them.

use super::conditions::raw;
use super::row::{put, value};
use crate::rules::logging::LogDetail;
use crate::rules::words::{Line, Word};

/// Puts a target extension into the row, with the words after the conditions.
///
/// Words that are not those of the target are kept, flagged as not understood: whether they are the target's or
/// those of a match before it cannot be told.
pub(super) fn read(line: Line<'_>, name: &Word, words: &[Word], row: &mut Vec<Word>) {
    row.extend([put(name, "-j"), put(name, &name.text)]);
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    match options(line, &name.text, words, &texts) {
        Some(options) => {
            let place = |at: usize| words.get(at).or(words.last()).unwrap_or(name);
            for (at, text) in options {
                row.push(match text {
                    Text::Option(text) => put(place(at), text),
                    Text::Value(text) => value(place(at), text),
                });
            }
        }
        None => {
            let first = words.first().unwrap_or(name);
            row.extend([put(first, "--listed"), value(first, raw(line, words))]);
        }
    }
}

#[derive(Clone)]
enum Text {
    Option(String),
    Value(String),
}

/// Options and values with the index of the word they stand for.
type Options = Vec<(usize, Text)>;

fn pair(at: usize, option: &str, given: &str) -> Options {
    let (option, given) = (option.to_owned(), given.to_owned());
    vec![(at, Text::Option(option)), (at, Text::Value(given))]
}

/// The options a target was given; `None` when a word is not understood.
fn options(line: Line<'_>, name: &str, words: &[Word], texts: &[&str]) -> Option<Options> {
    match (name, texts) {
        ("REDIRECT" | "MASQUERADE" | "TRACE", []) => Some(Vec::new()),
        ("REDIRECT", ["redir", "ports", ports, pick @ ..])
        | ("MASQUERADE", ["masq", "ports:", ports, pick @ ..]) => {
            Some([pair(2, "--to-ports", ports), picks(3, pick)?].concat())
        }
        ("MASQUERADE", pick) => picks(0, pick),
        ("DNAT" | "SNAT", [to, pick @ ..]) => {
            let option = match name {
                "DNAT" => "--to-destination",
                _ => "--to-source",
            };
            let range = to.strip_prefix("to:")?;
            Some([pair(0, option, range), picks(1, pick)?].concat())
        }
        ("TPROXY", ["TPROXY", "redirect", to, "mark", mark]) => {
            let (address, port) = to.rsplit_once(':')?;
            let address = address.trim_matches(['[', ']']);
            let options = [
                pair(2, "--on-port", port),
                pair(2, "--on-ip", address),
                pair(4, "--tproxy-mark", mark),
            ];
            Some(options.concat())
        }
        ("MARK", ["MARK", change @ ..]) => mark(change),
        ("CONNMARK", ["CONNMARK", change @ ..]) => mark(change).or_else(|| copied(change)),
        ("CT", ["CT", "notrack"] | ["NOTRACK"]) => {
            Some(vec![(0, Text::Option("--notrack".to_owned()))])
        }
        ("CT", ["CT", option @ ("zone" | "zone-orig" | "zone-reply"), zone]) => {
            Some(pair(2, &format!("--{option}"), zone))
        }
        ("REJECT", ["reject-with", answer]) => Some(pair(1, "--reject-with", answer)),
        ("LOG", ["LOG", rest @ ..]) => log(line, words, rest),
        ("NFLOG", _) => nflog(line, words, texts),
        _ => None,
    }
}

/// `random`, `random-fully`, `persistent`
fn picks(at: usize, texts: &[&str]) -> Option<Options> {
    let known = ["random", "random-fully", "persistent"];
    let each = texts.iter().enumerate().map(|(index, text)| {
        let option = known.contains(text).then(|| format!("--{text}"))?;
        Some((at + index, Text::Option(option)))
    });
    each.collect()
}

fn mark(texts: &[&str]) -> Option<Options> {
    let [how, value] = texts else { return None };
    let option = match *how {
        "set" | "xset" => "--set-xmark",
        "and" => "--and-mark",
        "or" => "--or-mark",
        "xor" => "--xor-mark",
        _ => return None,
    };
    Some(pair(2, option, value))
}

/// `save`, `restore mask 0xff`, `restore ctmask 0xff nfmask ~0xf`
fn copied(texts: &[&str]) -> Option<Options> {
    let (how, masks) = texts.split_first()?;
    if !matches!(*how, "save" | "restore") || masks.len() % 2 != 0 {
        return None;
    }
    let mut options = vec![(1, Text::Option(format!("--{how}-mark")))];
    for (at, mask) in masks.chunks_exact(2).enumerate() {
        let [name @ ("mask" | "ctmask" | "nfmask"), bits] = mask else {
            return None;
        };
        // The bits that are cleared first are printed as their complement.
        let bits = bits.trim_start_matches('~');
        options.extend(pair(2 + 2 * at, &format!("--{name}"), bits));
    }
    Some(options)
}

/// `flags 10 level 7 prefix "a: b"`, and without `-n` `level debug tcp-options uid prefix "a: b"`
fn log(line: Line<'_>, words: &[Word], texts: &[&str]) -> Option<Options> {
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(text) = texts.get(at) {
        let value = texts.get(at + 1);
        let place = at + 1;
        match *text {
            "flags" => {
                let bits: u8 = value?.parse().ok()?;
                let details = LogDetail::ALL.iter();
                for (detail, _) in details.filter(|(_, bit)| bits & bit != 0) {
                    options.push((place, Text::Option(format!("--{}", detail.name()))));
                }
                at += 2;
            }
            "level" => {
                options.extend(pair(place, "--log-level", value?));
                at += 2;
            }
            "prefix" => {
                let prefix = quoted(line, words.get(place + 1..)?)?;
                options.extend(pair(place, "--log-prefix", &prefix));
                return Some(options);
            }
            detail => {
                let detail = format!("log-{detail}");
                let known = LogDetail::ALL.iter().any(|(it, _)| it.name() == detail);
                options.push((place, Text::Option(format!("--{detail}"))));
                at += known.then_some(1)?;
            }
        }
    }
    Some(options)
}

/// `nflog-prefix "x y" nflog-group 5 nflog-size 20 nflog-threshold 3`
fn nflog(line: Line<'_>, words: &[Word], texts: &[&str]) -> Option<Options> {
    let mut options = Vec::new();
    let mut at = 0;
    if texts.first() == Some(&"nflog-prefix") {
        // The prefix ends before the next option, or with the row.
        let end = texts.iter().position(|it| *it == "nflog-group");
        let end = end.unwrap_or(texts.len());
        let prefix = quoted_up_to(line, words.get(1..)?, words.get(end))?;
        options.extend(pair(1, "--nflog-prefix", &prefix));
        at = end;
    }
    while let Some(option) = texts.get(at) {
        let known = ["nflog-group", "nflog-size", "nflog-threshold"];
        let option = known.contains(option).then(|| format!("--{option}"))?;
        options.extend(pair(at, &option, texts.get(at + 1)?));
        at += 2;
    }
    Some(options)
}

fn quoted(line: Line<'_>, words: &[Word]) -> Option<String> {
    quoted_up_to(line, words, None)
}

/// The text in the quotes that open with the first word, up to those before `end` or at the end of the line.
fn quoted_up_to(line: Line<'_>, words: &[Word], end: Option<&Word>) -> Option<String> {
    let start = words.first()?.column;
    let text: String = match end {
        None => line.text.chars().skip(start - 1).collect(),
        Some(end) => {
            let width = end.column.checked_sub(start)?;
            line.text.chars().skip(start - 1).take(width).collect()
        }
    };
    let inner = text.trim_end().strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}
