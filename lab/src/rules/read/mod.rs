//! Reads whatever a person has: finds out by the content what a text is, and where in it the rules stand.
//!
//! A text that starts with rules must be rules to its end: a line that is none is a complaint, not skipped. A text
//! that starts with something else (the log of istio-init, a support ticket, a page of notes) is searched for them.

use std::collections::BTreeMap;

use super::id::Family;
use super::parse;
use super::set::RuleSet;
use super::words::{self, Line};
use crate::diagnostic::Diagnostic;

mod commands;
mod guess;
mod listing;
mod nft;
mod scan;
mod variables;

use self::guess::Mention;
use self::scan::Block;

/// What a dump of rules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A file for `iptables-restore`, as istio-init writes it: `-N`, `-A`.
    Restore,
    /// What `iptables-save` prints, with or without counters.
    Save,
    /// What `iptables -S` prints.
    Commands,
    /// What `iptables -L -v` prints.
    Listing,
    /// What `nft list ruleset` prints, or commands for `nft -f`.
    Nft,
    /// What `nft -j list ruleset` prints.
    NftJson,
}

/// The rules found in one place of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// What they are written in.
    pub form: Form,
    /// The line they start at, from 1.
    pub line: usize,
    /// The line they end at.
    pub last_line: usize,
    /// IPv4 or IPv6, as far as the text tells.
    pub family: Family,
    /// The rules, or the first complaint about them.
    pub rules: Result<RuleSet, Diagnostic>,
}

/// A text with rules in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Every dump, in order.
    pub dumps: Vec<Dump>,
    /// `Istio iptables variables` of a log of istio-init.
    pub variables: BTreeMap<String, String>,
    /// `Istio iptables environment` of a log of istio-init.
    pub environment: BTreeMap<String, String>,
    /// What of the text is no rule of a known table, and was set aside; and a family that was guessed.
    pub remarks: Vec<Diagnostic>,
}

impl Document {
    /// The rules as the text leaves them: of each family every table, the last dump of a table counting.
    ///
    /// # Errors
    /// The first complaint about any of the dumps.
    pub fn rules(&self) -> Result<Vec<RuleSet>, Diagnostic> {
        let mut families: BTreeMap<Family, RuleSet> = BTreeMap::new();
        for dump in &self.dumps {
            let rules = dump.rules.clone()?;
            let family = rules.family;
            let known = families
                .entry(family)
                .or_insert_with(|| RuleSet::empty(family));
            known.tables.extend(rules.tables);
        }
        Ok(families.into_values().collect())
    }
}

/// Reads a text. `origin` names it in complaints; `family` is taken where the text itself does not tell.
///
/// # Errors
/// No rules are found, or a text that starts with rules goes on with something else. A complaint about the rules of
/// one dump is in [`Dump::rules`]: it does not keep the others from being read.
pub fn read(text: &str, origin: &str, family: Family) -> Result<Document, Diagnostic> {
    let lines: Vec<Line<'_>> = words::lines(text, origin).collect();
    let found = scan::blocks(&lines)?;
    if found.is_empty() {
        let message = "no rules found";
        let help = "expected the output of `iptables-save`, `iptables -S` or `iptables -L -v`, \
            a file for `iptables-restore`, a log of istio-init, or what `nft list ruleset` prints, as text or JSON";
        return Err(Diagnostic::at(origin, text, 0..1, message).help(help));
    }
    let mut dumps: Vec<Dump> = Vec::new();
    let mut remarks = Vec::new();
    let mut end = 0;
    for block in &found {
        if matches!(block.form, Form::Nft | Form::NftJson) {
            let (views, set_aside) = nft::read(block.form, block.lines());
            dumps.extend(views);
            remarks.extend(set_aside);
            end = block.end;
            continue;
        }
        let mention = guess::mention(&lines[end..block.start], block.lines());
        let follows = dumps.last().filter(|_| mention.is_none());
        let told = guess::family(block.lines()).or(mention.as_ref().map(|it| it.family));
        let next = follows.map(|last| (last.family, guess::next_family(last, block)));
        if let (None, Some((before, next)), Some(first)) = (told, next, block.lines().first())
            && before != next
        {
            remarks.push(guess::guessed(next, first));
        }
        let known = told.or(next.map(|(_, next)| next)).unwrap_or(family);
        dumps.push(dump(block, known, mention.as_ref()));
        end = block.end;
    }
    Ok(Document {
        dumps,
        variables: variables::section(&lines, "Istio iptables variables:"),
        environment: variables::section(&lines, "Istio iptables environment:"),
        remarks,
    })
}

fn dump(block: &Block<'_, '_>, family: Family, mention: Option<&Mention>) -> Dump {
    let lines = block.lines();
    let rules = match block.form {
        Form::Restore | Form::Save => parse::lines(lines.iter().copied(), family),
        Form::Commands => commands::read(lines, family, mention),
        Form::Listing => listing::read(lines, family, mention),
        Form::Nft | Form::NftJson => unreachable!("nft is read for both families at once"),
    };
    Dump {
        form: block.form,
        line: lines.first().map_or(1, |line| line.number),
        last_line: lines.last().map_or(1, |line| line.number),
        family,
        rules,
    }
}
