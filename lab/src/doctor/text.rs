//! The checks as text: a mark and a word for each, the problems with what follows and what to do.

use std::fmt::Write as _;

use anstyle::AnsiColor;

use super::{
    ability::Ability,
    check::{Check, NeededBy, Outcome},
};
use crate::report::Style;

/// Columns of a line that holds several checks.
const WIDTH: usize = 100;
/// Columns of an id.
const ID: usize = 27;
/// Columns before the text of a check: mark, word, id.
const INDENT: usize = 15 + ID;

/// All checks by group, then what can run here. Checks that say the same share an entry unless `verbose`.
pub fn text(checks: &[Check], verbose: bool) -> String {
    let mut out = String::new();
    for group in checks.chunk_by(|a, b| a.group == b.group) {
        let _ = writeln!(out, "{}", Style::bold(&group[0].group));
        let mut help = None;
        for alike in group.chunk_by(|a, b| !verbose && alike(a, b)) {
            entry(&mut out, alike, &mut help);
        }
        out.push('\n');
    }
    let ability = Ability::of(checks);
    let (mark, colour) = if ability.any() {
        ("✔", AnsiColor::Green)
    } else {
        ("✗", AnsiColor::Red)
    };
    let style = colour.on_default();
    let _ = writeln!(out, "{style}{mark} {}{style:#}", ability.sentence());
    out
}

/// Both work and have nothing to add to their names, or both wait for the same.
fn alike(a: &Check, b: &Check) -> bool {
    let silent = |c: &Check| matches!(&c.outcome, Outcome::Works { detail } if detail.is_empty());
    match (&a.outcome, &b.outcome) {
        (Outcome::Skipped { because: a }, Outcome::Skipped { because: b }) => a == b,
        _ => silent(a) && silent(b),
    }
}

/// One check, or several that say the same. `help` is what the problem before it said to do.
fn entry<'a>(out: &mut String, alike: &'a [Check], help: &mut Option<&'a str>) {
    let [first, rest @ ..] = alike else { return };
    let name = if rest.is_empty() {
        first.id.clone()
    } else {
        format!("{} checks", alike.len())
    };
    let words = match &first.outcome {
        Outcome::Works { detail } if detail.is_empty() => {
            wrapped(alike.iter().map(|c| c.tried.as_str()))
        }
        Outcome::Works { detail } => detail.clone(),
        Outcome::Skipped { because } => format!("`{because}` has to work first"),
        Outcome::Problem(problem) => {
            let mut failure = problem.to_failure();
            let same = failure.hint.is_some() && failure.hint.as_deref() == *help;
            if same {
                failure.hint = Some("the same".into());
            }
            *help = Some(&problem.fix);
            failure.to_string()
        }
    };
    let (mark, word, colour) = match (&first.outcome, first.needed_by) {
        (Outcome::Works { .. }, _) => ("✔", "works", AnsiColor::Green),
        (Outcome::Problem(_), NeededBy::EveryLab | NeededBy::OrdinaryUser) => {
            ("✗", "can't", AnsiColor::Red)
        }
        (Outcome::Problem(_), _) => ("✗", "can't", AnsiColor::Yellow),
        (Outcome::Skipped { .. }, _) => ("–", "not tried", AnsiColor::BrightBlack),
    };
    let style = colour.on_default();
    let head = format!("  {style}{mark} {word:9}{style:#} {name:ID$}");
    let mut lines = words.lines();
    let _ = writeln!(out, "{head} {}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
}

/// Words with commas between them, in lines that fit.
fn wrapped<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut column = INDENT;
    for word in words {
        let length = word.chars().count();
        if !text.is_empty() {
            let fits = column + 2 + length < WIDTH;
            text.push_str(if fits { ", " } else { ",\n" });
            column = if fits { column + 2 } else { INDENT };
        }
        text.push_str(word);
        column += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::check::Problem;
    use super::*;
    use crate::netfilter::Backend;

    fn check(id: &str, group: &str, outcome: Outcome) -> Check {
        Check {
            id: id.into(),
            group: group.into(),
            tried: format!("what {id} is"),
            needed_by: NeededBy::Backend(Backend::Nft),
            outcome,
        }
    }

    fn checks() -> Vec<Check> {
        let works = |detail: &str| Outcome::Works {
            detail: detail.into(),
        };
        let problem = |what: &str| {
            Outcome::Problem(Problem {
                what: what.into(),
                because: vec!["it is gone".into()],
                what_follows: "no lab can run here with the nft backend".into(),
                fix: "get it".into(),
            })
        };
        let skipped = || Outcome::Skipped {
            because: "c".into(),
        };
        vec![
            check("kernel", "this machine", works("Linux")),
            check("a", "nft, IPv4", works("")),
            check("b", "nft, IPv4", works("")),
            check("c", "nft, IPv4", problem("no c")),
            check("d", "nft, IPv4", problem("no d")),
            check("e", "nft, IPv4", skipped()),
            check("f", "nft, IPv4", skipped()),
        ]
    }

    fn plain(verbose: bool) -> String {
        anstream::adapter::strip_str(&text(&checks(), verbose)).to_string()
    }

    #[test]
    fn what_says_the_same_shares_an_entry_and_problems_say_what_to_do() {
        let expected = "\
this machine
  ✔ works     kernel                      Linux

nft, IPv4
  ✔ works     2 checks                    what a is, what b is
  ✗ can't     c                           no c, so no lab can run here with the nft backend
                                            because it is gone
                                            help: get it
  ✗ can't     d                           no d, so no lab can run here with the nft backend
                                            because it is gone
                                            help: the same
  – not tried 2 checks                    `c` has to work first

✗ no lab can run here
";
        assert_eq!(plain(false), expected);
    }

    #[test]
    fn verbose_has_an_entry_for_every_check() {
        let text = plain(true);
        for id in ["a", "b", "c", "d", "e", "f"] {
            let entries = text
                .lines()
                .filter(|l| l.split_whitespace().any(|word| word == id));
            assert!(entries.count() >= 1, "{id} in\n{text}");
        }
        assert!(!text.contains("2 checks"), "{text}");
    }
}
