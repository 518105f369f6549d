//! Reads nft's text: what `nft list ruleset` prints, and commands for `nft -f` as Istio writes them.

use super::ruleset::{NftRuleset, NftTable};
use super::statement::TableFamily;
use super::text_lines::{add, base, line_of, policy};
use super::tokens::{Cursor, Token, tokens};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::words::Line;

/// Objects beside tables, chains and rules; those of the second list have no body.
const OBJECTS: [&str; 12] = [
    "counter",
    "ct",
    "element",
    "flowtable",
    "limit",
    "map",
    "meter",
    "quota",
    "secmark",
    "set",
    "synproxy",
    "tunnel",
];

/// Reads the lines of one listing or transaction.
///
/// # Errors
/// A brace or quote without its partner, a command that is none, a chain or table that is not there.
pub(super) fn read<'a>(lines: &[Line<'a>]) -> Result<NftRuleset<'a>, Diagnostic> {
    let tokens = tokens(lines)?;
    let mut reader = Reader {
        cursor: Cursor::new(&tokens),
        set: NftRuleset::default(),
    };
    while reader.next_command() {
        reader.command()?;
    }
    Ok(reader.set)
}

/// Whether a line starts a listing or a command of nft. Without a family in it, prose might too.
pub(in crate::rules::read) fn starts(line: &Line<'_>) -> bool {
    let mut words = line.text.split_whitespace();
    let (first, second, third) = (words.next(), words.next(), words.next());
    let family = |word: Option<&str>| word.is_some_and(|it| TableFamily::from_name(it).is_some());
    match first {
        Some("table") => family(second) && third.is_some(),
        Some("add" | "create" | "insert" | "replace" | "flush" | "delete" | "destroy") => {
            match second {
                Some("ruleset") => third.is_none() || family(third),
                Some(object) => is_object(object) && family(third),
                None => false,
            }
        }
        _ => false,
    }
}

fn is_object(word: &str) -> bool {
    matches!(word, "table" | "chain" | "rule") || OBJECTS.contains(&word)
}

struct Reader<'t, 'a> {
    cursor: Cursor<'t, 'a>,
    set: NftRuleset<'a>,
}

impl<'t, 'a> Reader<'t, 'a> {
    /// Goes to the next command; says whether there is one.
    fn next_command(&mut self) -> bool {
        while self
            .cursor
            .peek()
            .is_some_and(|it| it.is_line_end() || it.is(";"))
        {
            self.cursor.next();
        }
        self.cursor.peek().is_some()
    }

    /// The next word, which must be there.
    fn word(&mut self, what: &str, after: &Token<'a>) -> Result<&'t Token<'a>, Diagnostic> {
        let next = self.cursor.peek();
        match next.filter(|_| self.cursor.name().is_some()) {
            Some(token) => Ok(token),
            None => Err(after.at.complaint(format!("expected {what} after this"))),
        }
    }

    fn command(&mut self) -> Result<(), Diagnostic> {
        let Some(verb) = self.cursor.next() else {
            return Ok(());
        };
        if verb.is("table") {
            return self.table(verb);
        }
        let verbs = ["add", "create", "insert", "flush", "delete", "destroy"];
        if verb.quoted || !verbs.contains(&verb.text.as_str()) {
            let message = format!("`{}` is no command of nft that is read here", verb.text);
            let mut error = verb.at.complaint(message);
            error.help = did_you_mean(&verb.text, verbs).or_else(|| {
                let help = "expected a listing (`table inet NAME {`), or `add`, `insert`, `flush` or `delete`";
                Some(help.to_owned())
            });
            return Err(error);
        }
        let object = self.word("`table`, `chain` or `rule`", verb)?;
        match (verb.text.as_str(), object.text.as_str()) {
            ("add" | "create", "table") => self.table(object),
            ("add" | "create", "chain") => self.add_chain(object),
            ("add" | "create", "rule") => self.add_rule(object, false),
            ("insert", "rule") => self.add_rule(object, true),
            ("flush" | "delete" | "destroy", "ruleset" | "table" | "chain") => {
                self.remove(verb, object)
            }
            ("delete" | "destroy" | "insert", "rule" | "chain" | "table") => {
                Err(object.at.complaint(format!(
                    "`{} {}` names what only the kernel knows",
                    verb.text, object.text
                )))
            }
            (_, other) if OBJECTS.contains(&other) => {
                self.set_aside(object);
                Ok(())
            }
            (_, other) => {
                let mut error = object.at.complaint(format!("nft has no object `{other}`"));
                let known = ["table", "chain", "rule"].into_iter().chain(OBJECTS);
                error.help = did_you_mean(other, known);
                Err(error)
            }
        }
    }

    /// `[FAMILY] NAME`; nft takes `ip` where none is given.
    fn table_name(
        &mut self,
        after: &Token<'a>,
    ) -> Result<(TableFamily, &'t Token<'a>), Diagnostic> {
        let first = self.word("a family such as `inet`, and the name of a table", after)?;
        match TableFamily::from_name(&first.text).filter(|_| !first.quoted) {
            Some(family) => Ok((family, self.word("the name of a table", first)?)),
            None => Ok((TableFamily::Ip, first)),
        }
    }

    fn table(&mut self, keyword: &'t Token<'a>) -> Result<(), Diagnostic> {
        let (family, name) = self.table_name(keyword)?;
        self.set.add_table(family.clone(), &name.text, name.at);
        let Some(open) = self.cursor.peek().filter(|it| it.is("{")) else {
            return self.end_of_command(name);
        };
        let body = self.braces(open)?;
        let outer = std::mem::replace(&mut self.cursor, Cursor::new(body));
        while self.next_command() {
            self.in_table(&family, name)?;
        }
        self.cursor = outer;
        Ok(())
    }

    /// The words between a brace and its partner.
    fn braces(&mut self, open: &Token<'a>) -> Result<&'t [Token<'a>], Diagnostic> {
        let all = self.cursor.rest;
        let mut depth = 0_usize;
        for (index, token) in all.iter().enumerate() {
            depth += usize::from(token.is("{"));
            depth -= usize::from(token.is("}"));
            if depth == 0 {
                self.cursor.rest = &all[index + 1..];
                return Ok(&all[1..index]);
            }
        }
        Err(open.at.complaint("this brace is never closed"))
    }

    fn in_table(&mut self, family: &TableFamily, table: &'t Token<'a>) -> Result<(), Diagnostic> {
        let Some(word) = self.cursor.next() else {
            return Ok(());
        };
        match word.text.as_str() {
            "chain" => {
                let name = self.word("the name of a chain", word)?;
                self.chain(family, table, name)
            }
            "flags" => {
                while let Some(flag) = self.cursor.name() {
                    self.set.table(family, &table.text, table.at)?.dormant |= flag == "dormant";
                    self.cursor.take(",");
                }
                Ok(())
            }
            "comment" => {
                self.cursor.name();
                Ok(())
            }
            other if OBJECTS.contains(&other) => {
                self.set_aside(word);
                Ok(())
            }
            other => {
                let message = format!("a table of nft holds no `{other}`");
                let mut error = word.at.complaint(message);
                let known = ["chain", "flags", "comment"].into_iter().chain(OBJECTS);
                error.help = did_you_mean(other, known);
                Err(error)
            }
        }
    }

    /// Goes over an object that is no rule, and says so.
    fn set_aside(&mut self, object: &Token<'a>) {
        let mut words = vec![object.text.clone()];
        while let Some(next) = self.cursor.peek() {
            if next.is("{") {
                let open = next.clone();
                if self.braces(&open).is_err() {
                    self.cursor.rest = &[];
                }
                break;
            }
            if next.is_line_end() || next.is(";") {
                break;
            }
            words.push(next.text.clone());
            self.cursor.next();
        }
        let message = format!(
            "`{}` is set aside: rules that name it are not modelled",
            words.join(" ")
        );
        self.set.remarks.push(object.at.complaint(message));
    }

    fn add_chain(&mut self, keyword: &'t Token<'a>) -> Result<(), Diagnostic> {
        let (family, table) = self.table_name(keyword)?;
        let name = self.word("the name of a chain", table)?;
        self.chain(&family, table, name)
    }

    /// A chain with its body, if it has one.
    fn chain(
        &mut self,
        family: &TableFamily,
        table: &'t Token<'a>,
        name: &'t Token<'a>,
    ) -> Result<(), Diagnostic> {
        let owner = self.set.table(family, &table.text, table.at)?;
        owner.add_chain(&name.text, None, name.at);
        let Some(open) = self.cursor.peek().filter(|it| it.is("{")) else {
            return self.end_of_command(name);
        };
        let mut body = Cursor::new(self.braces(open)?);
        let owner = self.set.table(family, &table.text, table.at)?;
        while let Some(line) = line_of(&mut body) {
            let Some(first) = line.first() else { continue };
            if first.is("type") {
                let base = base(line)?;
                owner.add_chain(&name.text, Some(base), name.at);
            } else if first.is("policy") {
                let policy = policy(line)?;
                match &mut owner.chain(&name.text, name.at)?.base {
                    Some(base) => base.policy = policy,
                    None => return Err(first.at.complaint("a policy needs a `type` before it")),
                }
            } else if first.is("comment") || first.is("flags") {
                // Of the chain, and without meaning for a packet.
            } else {
                add(owner, &name.text, line, None)?;
            }
        }
        Ok(())
    }

    fn add_rule(&mut self, keyword: &'t Token<'a>, first: bool) -> Result<(), Diagnostic> {
        let (family, table) = self.table_name(keyword)?;
        let chain = self.word("the name of a chain", table)?;
        let mut place = None;
        if let Some(by) = self.cursor.peek() {
            if self.cursor.take("index") {
                let number = self.word("a number", by)?;
                let index: usize = number.text.parse().map_err(|_| {
                    let message = format!("`{}` is not a number of a rule, from 0", number.text);
                    number.at.complaint(message)
                })?;
                // `add` puts it behind that rule, `insert` before it.
                place = Some((
                    number.at,
                    if first {
                        index
                    } else {
                        index.saturating_add(1)
                    },
                ));
            } else if by.is("position") || by.is("handle") {
                let mut error = by
                    .at
                    .complaint("a handle names a rule only the kernel knows");
                error.help = Some(
                    "name the place with `index`, or read what `nft list ruleset` prints".into(),
                );
                return Err(error);
            }
        }
        let mut rest = self.cursor;
        let line = line_of(&mut rest).unwrap_or_default();
        self.cursor = rest;
        let owner = self.set.table(&family, &table.text, table.at)?;
        let there = owner.chain(&chain.text, chain.at)?.rules.len();
        let index = match place {
            Some((at, index)) if index > there => {
                let message = format!("chain `{}` has {there} rules, counted from 0", chain.text);
                return Err(at.complaint(message));
            }
            Some((_, index)) => Some(index),
            None => first.then_some(0),
        };
        if line.is_empty() {
            return Err(chain.at.complaint("expected a rule after this"));
        }
        add(owner, &chain.text, line, index)
    }

    fn remove(&mut self, verb: &Token<'a>, object: &'t Token<'a>) -> Result<(), Diagnostic> {
        let deletes = !verb.is("flush");
        if object.is("ruleset") {
            let only = self.cursor.take_as(TableFamily::from_name);
            self.set
                .tables
                .retain(|it| only.as_ref().is_some_and(|only| it.family != *only));
            return self.end_of_command(object);
        }
        let (family, name) = self.table_name(object)?;
        if object.is("table") {
            // Of a transaction: a table that is not there may be in the kernel.
            let known = |it: &NftTable<'_>| it.family == family && it.name == name.text;
            if deletes {
                self.set.tables.retain(|it| !known(it));
            } else if let Some(table) = self.set.tables.iter_mut().find(|it| known(it)) {
                table.chains.iter_mut().for_each(|it| it.rules.clear());
            }
            return self.end_of_command(name);
        }
        let chain = self.word("the name of a chain", name)?;
        let table = self.set.table(&family, &name.text, name.at)?;
        if deletes {
            table.chains.retain(|it| it.name != chain.text);
        } else {
            table.chain(&chain.text, chain.at)?.rules.clear();
        }
        self.end_of_command(chain)
    }

    fn end_of_command(&mut self, last: &Token<'a>) -> Result<(), Diagnostic> {
        match self.cursor.peek() {
            Some(next) if !next.is_line_end() && !next.is(";") => {
                let message = format!("expected nothing more after `{}`", last.text);
                Err(next.at.complaint(message))
            }
            _ => Ok(()),
        }
    }
}
