//! The text of an nft transaction: per table add and flush, the chains that hold rules, the rules.

use std::fmt::Write as _;

/// The tables and chains of a rule set, in the order they are written.
pub type Layout = &'static [TableLayout];

/// One table.
#[derive(Debug)]
pub struct TableLayout {
    pub(super) name: &'static str,
    /// Base chains with their definition, then the others.
    pub(super) chains: &'static [(&'static str, Option<&'static str>)],
}

/// Where a rule goes in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    End,
    /// Before the rule with this 0-based index.
    Index(usize),
}

#[derive(Debug)]
struct Rule {
    table: &'static str,
    chain: &'static str,
    place: Place,
    words: String,
}

impl Rule {
    fn jumps_to(&self) -> Option<&str> {
        self.words.rsplit_once("jump ").map(|(_, chain)| chain)
    }
}

/// nft rules in emission order.
#[derive(Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn append(
        &mut self,
        table: &'static str,
        chain: &'static str,
        words: impl Into<String>,
    ) {
        self.0.push(Rule {
            table,
            chain,
            place: Place::End,
            words: words.into(),
        });
    }

    pub(super) fn insert(
        &mut self,
        table: &'static str,
        chain: &'static str,
        index: usize,
        words: impl Into<String>,
    ) {
        self.0.push(Rule {
            table,
            chain,
            place: Place::Index(index),
            words: words.into(),
        });
    }
}

/// The transaction. A table without rules is left out, and so is a chain that no rule is in or jumps to.
pub fn transaction(layout: Layout, rules: &Rules) -> String {
    let mut text = String::new();
    for table in layout {
        let of_table: Vec<&Rule> = rules
            .0
            .iter()
            .filter(|rule| rule.table == table.name)
            .collect();
        if !of_table.is_empty() {
            write_table(&mut text, table, &of_table);
        }
    }
    text
}

fn write_table(text: &mut String, table: &TableLayout, rules: &[&Rule]) {
    let name = table.name;
    let _ = writeln!(text, "add table inet {name}\nflush table inet {name}");
    let used = |chain: &str| {
        rules
            .iter()
            .any(|rule| rule.chain == chain || rule.jumps_to() == Some(chain))
    };
    for (chain, base) in table.chains.iter().filter(|(chain, _)| used(chain)) {
        match base {
            Some(base) => {
                let _ = writeln!(text, "add chain inet {name} {chain} {{ {base} ; }}");
            }
            None => {
                let _ = writeln!(text, "add chain inet {name} {chain}");
            }
        }
    }
    for (i, rule) in rules.iter().enumerate() {
        let Rule { chain, words, .. } = rule;
        let before = rules[..i]
            .iter()
            .filter(|other| other.chain == *chain)
            .count();
        let _ = match rule.place {
            // nft knows no index past the last rule; there, an insert is an append.
            Place::Index(index) if index < before => {
                writeln!(
                    text,
                    "insert rule inet {name} {chain} index {index} {words}"
                )
            }
            _ => writeln!(text, "add rule inet {name} {chain} {words}"),
        };
    }
}
