//! Lines of a chain in nft's text: where one ends, a rule, what makes a base chain.

use super::ruleset::{Base, NftRule, NftTable, Spot, priority};
use super::text_rule;
use super::tokens::{Cursor, Token};
use crate::diagnostic::Diagnostic;
use crate::rules::set::Policy;

/// The words up to the end of a line or a semicolon, braces kept together; `None` at the end.
pub(super) fn line_of<'t, 'a>(cursor: &mut Cursor<'t, 'a>) -> Option<&'t [Token<'a>]> {
    let all = cursor.rest;
    let mut depth = 0_usize;
    for (index, token) in all.iter().enumerate() {
        depth += usize::from(token.is("{"));
        depth = depth.saturating_sub(usize::from(token.is("}")));
        if depth == 0 && (token.is_line_end() || token.is(";")) {
            cursor.rest = &all[index + 1..];
            return Some(&all[..index]);
        }
    }
    cursor.rest = &[];
    (!all.is_empty()).then_some(all)
}

pub(super) fn add<'a>(
    table: &mut NftTable<'a>,
    chain: &str,
    line: &[Token<'a>],
    index: Option<usize>,
) -> Result<(), Diagnostic> {
    let (steps, comment, target) = text_rule::steps(line);
    let Some(at) = target.or(line.first()).map(|token| token.at) else {
        return Ok(());
    };
    let rules = &mut table.chain(chain, at)?.rules;
    let rule = NftRule { steps, comment, at };
    match index {
        Some(index) => rules.insert(index.min(rules.len()), rule),
        None => rules.push(rule),
    }
    Ok(())
}

/// `type nat hook output priority dstnat + 5`, perhaps with a device or two.
pub(super) fn base(line: &[Token<'_>]) -> Result<Base, Diagnostic> {
    let at = line.first().map(|it| it.at);
    let words: Vec<&str> = line.iter().map(|it| it.text.as_str()).collect();
    let after = |word: &str| {
        let at = words.iter().position(|it| *it == word)?;
        words.get(at + 1..)
    };
    let one = |word: &str| after(word).and_then(|rest| rest.first().copied());
    let read = || {
        Some(Base {
            kind: one("type")?.to_owned(),
            hook: one("hook")?.to_owned(),
            priority: priority(after("priority")?)?,
            policy: Policy::Accept,
        })
    };
    match (read(), at) {
        (Some(base), _) => Ok(base),
        (None, Some(Spot { line, .. })) => Err(line.error_all(
            "expected a hook and a priority, such as `type nat hook output priority -100;`",
        )),
        (None, None) => unreachable!("a line starts with its word `type`"),
    }
}

pub(super) fn policy(line: &[Token<'_>]) -> Result<Policy, Diagnostic> {
    let given = line.get(1).or(line.first());
    match given.map(|it| it.text.as_str()) {
        Some("accept") => Ok(Policy::Accept),
        Some("drop") => Ok(Policy::Drop),
        other => {
            let message = format!(
                "`{}` is no policy: accept or drop",
                other.unwrap_or_default()
            );
            Err(given.map_or_else(
                || unreachable!("a line starts with its word `policy`"),
                |it| it.at.complaint(message),
            ))
        }
    }
}
