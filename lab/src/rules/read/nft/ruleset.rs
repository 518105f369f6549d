//! The tables, chains and rules of nft as a text leaves them, before they are taken for tables of iptables.

use super::statement::{Step, TableFamily};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::set::Policy;
use crate::rules::words::Line;

/// A place of the text, for complaints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    pub line: Line<'a>,
    /// From 1, in characters.
    pub column: usize,
    /// In characters.
    pub width: usize,
}

impl Spot<'_> {
    pub fn complaint(&self, message: impl Into<String>) -> Diagnostic {
        self.line.error_at(self.column, self.width, message)
    }
}

#[derive(Debug, Clone)]
pub(super) struct NftRule<'a> {
    pub steps: Vec<Step>,
    pub comment: Option<String>,
    pub at: Spot<'a>,
}

/// What a base chain is hooked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// `nat`, `filter` or `route`
    pub kind: String,
    pub hook: String,
    pub priority: i32,
    pub policy: Policy,
}

#[derive(Debug, Clone)]
pub(super) struct NftChain<'a> {
    pub name: String,
    /// `None` for a chain that only jumps lead to.
    pub base: Option<Base>,
    pub rules: Vec<NftRule<'a>>,
    pub at: Spot<'a>,
}

#[derive(Debug, Clone)]
pub(super) struct NftTable<'a> {
    pub family: TableFamily,
    pub name: String,
    /// Switched off: none of its chains is asked.
    pub dormant: bool,
    pub chains: Vec<NftChain<'a>>,
    pub at: Spot<'a>,
}

impl NftTable<'_> {
    /// `inet istio-proxy-nat`
    pub fn full_name(&self) -> String {
        format!("{} {}", self.family, self.name)
    }
}

/// Everything a text holds, and what of it is not read as rules.
#[derive(Debug, Default)]
pub(super) struct NftRuleset<'a> {
    pub tables: Vec<NftTable<'a>>,
    pub remarks: Vec<Diagnostic>,
}

impl<'a> NftRuleset<'a> {
    /// Makes the table unless it is there, as `add table` does.
    pub fn add_table(
        &mut self,
        family: TableFamily,
        name: &str,
        at: Spot<'a>,
    ) -> &mut NftTable<'a> {
        let known = |it: &NftTable<'_>| it.family == family && it.name == name;
        let index = match self.tables.iter().position(known) {
            Some(index) => index,
            None => {
                self.tables.push(NftTable {
                    family,
                    name: name.to_owned(),
                    dormant: false,
                    chains: Vec::new(),
                    at,
                });
                self.tables.len() - 1
            }
        };
        &mut self.tables[index]
    }

    /// The table, which must be there.
    pub fn table(
        &mut self,
        family: &TableFamily,
        name: &str,
        at: Spot<'a>,
    ) -> Result<&mut NftTable<'a>, Diagnostic> {
        let index = self
            .tables
            .iter()
            .position(|it| it.family == *family && it.name == name);
        let Some(index) = index else {
            let mut error = at.complaint(format!("there is no table `{family} {name}`"));
            let known = self.tables.iter().map(|it| it.name.as_str());
            error.help = did_you_mean(name, known)
                .or_else(|| Some(format!("`add table {family} {name}` makes it")));
            return Err(error);
        };
        Ok(&mut self.tables[index])
    }
}

impl<'a> NftTable<'a> {
    /// Makes the chain unless it is there, as `add chain` does.
    pub fn add_chain(&mut self, name: &str, base: Option<Base>, at: Spot<'a>) -> &mut NftChain<'a> {
        let index = match self.chains.iter().position(|it| it.name == name) {
            Some(index) => index,
            None => {
                self.chains.push(NftChain {
                    name: name.to_owned(),
                    base: None,
                    rules: Vec::new(),
                    at,
                });
                self.chains.len() - 1
            }
        };
        let chain = &mut self.chains[index];
        chain.base = base.or(chain.base.take());
        chain
    }

    /// The chain, which must be there.
    pub fn chain(&mut self, name: &str, at: Spot<'a>) -> Result<&mut NftChain<'a>, Diagnostic> {
        let Some(index) = self.chains.iter().position(|it| it.name == name) else {
            let mut error = at.complaint(format!(
                "there is no chain `{name}` in table `{}`",
                self.full_name()
            ));
            let known = self.chains.iter().map(|it| it.name.as_str());
            error.help = did_you_mean(name, known);
            return Err(error);
        };
        Ok(&mut self.chains[index])
    }
}

/// The names nft has for priorities (`std_prios` in its src/rule.c), outside of bridges.
const PRIORITIES: [(&str, i32); 6] = [
    ("raw", -300),
    ("mangle", -150),
    ("dstnat", -100),
    ("filter", 0),
    ("security", 50),
    ("srcnat", 100),
];

/// `-100`, `dstnat`, or the two parts of `dstnat + 5`.
pub(super) fn priority(words: &[&str]) -> Option<i32> {
    let number = |word: &str| word.parse::<i32>().ok();
    let named = |word: &str| {
        let known = PRIORITIES.iter().find(|(name, _)| *name == word);
        known.map(|(_, number)| *number)
    };
    match words {
        [word] => number(word).or_else(|| named(word)),
        [name, "+", more] => named(name)?.checked_add(number(more)?),
        [name, "-", less] => named(name)?.checked_sub(number(less)?),
        _ => None,
    }
}
