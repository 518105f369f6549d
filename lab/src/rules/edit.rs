//! Changes of a rule set in the words of iptables: `-t mangle -D PREROUTING 1`, `-I ISTIO_OUTPUT 1 -p tcp …`.
//!
//! One value has both meanings: what the kernel is told ([`Edit::restore_text`]) and the rules that must be there then
//! ([`edited`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    id::{Family, Table},
    parse::Reader,
    set::RuleSet,
    words::{self, Line},
};
use crate::diagnostic::Diagnostic;

/// One change of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Only in the rules of this family; none changes both.
    family: Option<Family>,
    /// Table, nat unless the words say otherwise.
    table: Table,
    /// The command, without family and table: `-D ISTIO_OUTPUT 1`.
    command: String,
    /// All of it, as a person wrote it.
    words: String,
}

/// What a command does to a chain.
enum Verb<'w> {
    /// `-D CHAIN PLACE`
    Delete { chain: &'w str, place: usize },
    /// `-F CHAIN`
    Flush { chain: &'w str },
    /// `-R CHAIN PLACE RULE`
    Replace { chain: &'w str, place: usize },
    /// What a rules file may hold, too: `-A`, `-I`, `-N`, `-P`.
    Line,
}

impl Edit {
    /// Reads `[-4|-6] [-t TABLE] COMMAND`.
    ///
    /// # Errors
    /// Why these words are no change of a rule set.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut edit = Self {
            family: None,
            table: Table::Nat,
            command: String::new(),
            words: text.to_owned(),
        };
        let mut rest = text.trim();
        loop {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word {
                "-4" | "--ipv4" => edit.family = Some(Family::V4),
                "-6" | "--ipv6" => edit.family = Some(Family::V6),
                "-t" | "--table" => {
                    let after = after.trim_start();
                    let (name, after) =
                        after.split_once(char::is_whitespace).unwrap_or((after, ""));
                    let known = Table::ALL.into_iter().find(|table| table.name() == name);
                    edit.table = known.ok_or_else(|| format!("there is no table `{name}`"))?;
                    rest = after.trim_start();
                    continue;
                }
                _ => break,
            }
            rest = after.trim_start();
        }
        edit.command = rest.to_owned();
        edit.verb()?;
        Ok(edit)
    }

    /// Whether it changes the rules of a family.
    pub fn is_of(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    /// The table that it changes.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Whether a rule set has that table.
    pub fn has_table(&self, set: &RuleSet) -> bool {
        set.tables.contains_key(&self.table)
    }

    fn verb(&self) -> Result<Verb<'_>, String> {
        let mut words = self.command.split_whitespace();
        let (verb, chain, place) = (words.next().unwrap_or(""), words.next(), words.next());
        let chain = chain.ok_or_else(|| format!("`{verb}` needs a chain"));
        let place = || {
            let number = place.and_then(|it| it.parse::<usize>().ok());
            number
                .filter(|it| *it > 0)
                .ok_or_else(|| format!("`{verb}` needs the place of a rule, counted from 1"))
        };
        match verb {
            "-D" | "--delete" => {
                let (chain, place) = (chain?, place()?);
                match words.next() {
                    None => Ok(Verb::Delete { chain, place }),
                    Some(extra) => Err(format!("nothing may follow the place, not `{extra}`")),
                }
            }
            "-F" | "--flush" => Ok(Verb::Flush { chain: chain? }),
            "-R" | "--replace" => Ok(Verb::Replace {
                chain: chain?,
                place: place()?,
            }),
            "-A" | "--append" | "-I" | "--insert" | "-N" | "--new-chain" | "-P" | "--policy" => {
                chain.map(|_| Verb::Line)
            }
            "" => Err("there is no command".to_owned()),
            other => Err(format!(
                "`{other}` changes no rule: -A, -I, -D, -R, -F, -N and -P do"
            )),
        }
    }

    /// The edits of a family as text for `iptables-restore --noflush`; none where nothing is to change.
    pub fn restore_text(edits: &[Self], family: Family) -> Option<String> {
        let mut text = String::new();
        let mine: Vec<&Self> = edits.iter().filter(|it| it.is_of(family)).collect();
        for together in mine.chunk_by(|one, next| one.table == next.table) {
            let table = together[0].table;
            text.push_str(&format!("*{table}\n"));
            for edit in together {
                text.push_str(&edit.command);
                text.push('\n');
            }
            text.push_str("COMMIT\n");
        }
        (!text.is_empty()).then_some(text)
    }
}

/// A rule set after edits, in their order.
///
/// # Errors
/// The first that can't be done, or whose words are no rule, with its place in the edit.
pub fn edited(set: &RuleSet, edits: &[Edit]) -> Result<RuleSet, Diagnostic> {
    let mut now = set.clone();
    for edit in edits.iter().filter(|it| it.is_of(set.family)) {
        now = one(now, edit)?;
    }
    Ok(now)
}

fn one(mut set: RuleSet, edit: &Edit) -> Result<RuleSet, Diagnostic> {
    let origin = format!("the {} rules", set.family);
    let complain = |message: String| {
        Line {
            origin: &origin,
            number: 1,
            text: &edit.command,
        }
        .error_all(message)
    };
    let verb = edit.verb().map_err(complain)?;
    let (chain, place) = match verb {
        Verb::Line => return as_line(set, edit, &edit.command, &origin),
        Verb::Delete { chain, place } | Verb::Replace { chain, place } => (chain, Some(place)),
        Verb::Flush { chain } => (chain, None),
    };
    let table = set.tables.get_mut(&edit.table);
    let Some(found) = table.and_then(|table| table.chain_mut(chain)) else {
        return Err(complain(format!(
            "table `{}` has no chain `{chain}`",
            edit.table
        )));
    };
    match place {
        None => found.rules.clear(),
        Some(place) if place > found.rules.len() => {
            let rules = found.rules.len();
            return Err(complain(format!(
                "`{chain} {place}` is no rule: the chain has {rules}"
            )));
        }
        Some(place) => {
            found.rules.remove(place - 1);
        }
    }
    match verb {
        Verb::Replace { chain, place } => {
            let rule = edit.command.split_whitespace().skip(3);
            let rule: Vec<&str> = rule.collect();
            as_line(
                set,
                edit,
                &format!("-I {chain} {place} {}", rule.join(" ")),
                &origin,
            )
        }
        _ => Ok(set),
    }
}

/// A line that a rules file may hold, too, read as if the rules so far stood before it.
fn as_line(set: RuleSet, edit: &Edit, line: &str, origin: &str) -> Result<RuleSet, Diagnostic> {
    let text = format!("*{}\n{line}\nCOMMIT\n", edit.table);
    let mut reader = Reader::upon(set);
    for line in words::lines(&text, origin) {
        reader.line(line)?;
    }
    Ok(reader.into_set())
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::{parse, to_restore};

    const RULES: &str = "*nat\n:MINE - [0:0]\n-A OUTPUT -p tcp -j MINE\n-A MINE -p tcp --dport 1 -j RETURN\n\
                         -A MINE -p tcp --dport 2 -j RETURN\nCOMMIT\n";

    fn after(edits: &[&str], family: Family) -> Result<RuleSet, String> {
        let edits: Result<Vec<Edit>, String> = edits.iter().map(|it| Edit::parse(it)).collect();
        let set = parse(RULES, family, "r").expect("rules");
        edited(&set, &edits?).map_err(|it| it.to_string())
    }

    #[rstest]
    #[case::delete(&["-D MINE 1"], "-A MINE -p tcp --dport 2 -j RETURN\n")]
    #[case::flush(&["-F MINE"], "")]
    #[case::replace(
        &["-R MINE 1 -p tcp --dport 9 -j ACCEPT"],
        "-A MINE -p tcp --dport 9 -j ACCEPT\n-A MINE -p tcp --dport 2 -j RETURN\n"
    )]
    #[case::a_rule_moved(
        &["-D MINE 1", "-A MINE -p tcp --dport 1 -j RETURN"],
        "-A MINE -p tcp --dport 2 -j RETURN\n-A MINE -p tcp --dport 1 -j RETURN\n"
    )]
    #[case::of_the_other_family(
        &["-6 -F MINE", "--ipv4 -D MINE 2"],
        "-A MINE -p tcp --dport 1 -j RETURN\n"
    )]
    fn edits_are_made_in_their_order(#[case] edits: &[&str], #[case] mine: &str) {
        let wanted = format!("*nat\n:MINE - [0:0]\n-A OUTPUT -p tcp -j MINE\n{mine}COMMIT\n");
        let wanted = parse(&wanted, Family::V4, "w").expect("rules");
        let had = after(edits, Family::V4).expect("they can be made");
        assert_eq!(to_restore(&had), to_restore(&wanted));
    }

    #[rstest]
    #[case::no_such_rule("-D MINE 3", "`MINE 3` is no rule: the chain has 2")]
    #[case::no_such_chain("-D YOURS 1", "table `nat` has no chain `YOURS`")]
    #[case::no_place("-D MINE", "`-D` needs the place of a rule, counted from 1")]
    #[case::by_words("-D MINE -p tcp --dport 1 -j RETURN", "`-D` needs the place of a rule")]
    #[case::a_listing("-L MINE", "`-L` changes no rule")]
    #[case::no_table("-t net -F MINE", "there is no table `net`")]
    #[case::a_bad_rule(
        "-I MINE 1 -p tcp --dport 1 -j NOWHERE",
        "chain `NOWHERE` does not exist"
    )]
    #[case::nothing("", "there is no command")]
    fn what_can_not_be_done_is_told(#[case] edit: &str, #[case] words: &str) {
        let why = after(&[edit], Family::V4).expect_err("it is refused");
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn the_kernel_is_told_table_by_table() {
        let edits = [
            "-D MINE 1",
            "-6 -F MINE",
            "-t raw -A OUTPUT -p udp -j ACCEPT",
        ];
        let edits: Vec<Edit> = edits.iter().filter_map(|it| Edit::parse(it).ok()).collect();
        let text = Edit::restore_text(&edits, Family::V4);
        let wanted = "*nat\n-D MINE 1\nCOMMIT\n*raw\n-A OUTPUT -p udp -j ACCEPT\nCOMMIT\n";
        assert_eq!(text.as_deref(), Some(wanted));
        assert_eq!(Edit::restore_text(&edits[1..2], Family::V4), None);
    }
}
