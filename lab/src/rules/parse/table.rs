//! Reads the lines between a table's header and its COMMIT: chains, policies and rules in their place.

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::rules::id::{Family, Table};
use crate::rules::options;
use crate::rules::set::{Chain, Counter, Policy, Rule, TableRules};
use crate::rules::target::Target;
use crate::rules::words::{Line, Word};

/// The longest chain name the kernel stores (`XT_EXTENSION_MAXNAMELEN` less the final NUL).
const CHAIN_NAME_MAX: usize = 28;

/// A table between its header and COMMIT.
pub(in crate::rules) struct Open<'a> {
    pub table: Table,
    pub header: Line<'a>,
    pub rules: TableRules,
    pub jumps: Vec<(Line<'a>, Word)>,
}

impl<'a> Open<'a> {
    /// A table without lines yet; `header` is the line to complain about when it never ends.
    pub fn new(table: Table, header: Line<'a>) -> Self {
        Self {
            table,
            header,
            rules: TableRules::empty(table),
            jumps: Vec::new(),
        }
    }

    /// `:CHAIN POLICY [p:b]`
    pub fn declaration(&mut self, line: Line<'a>, words: &[Word]) -> Result<(), Diagnostic> {
        let (first, rest) = (&words[0], &words[1..]);
        let name = Word {
            text: first.text[1..].to_owned(),
            column: first.column + 1,
            width: first.width - 1,
            quoted: first.quoted,
        };
        let policy = rest
            .first()
            .ok_or_else(|| line.error(first, "a chain declaration needs a policy, or `-`"))?;
        let counters = match rest.get(1) {
            Some(word) => Some(
                counter(word)
                    .ok_or_else(|| line.error(word, "expected counters such as `[0:0]`"))?,
            ),
            None => None,
        };
        if let Some(extra) = rest.get(2) {
            return Err(line.error(extra, "nothing may follow the counters of a chain"));
        }
        check_name(line, &name)?;
        match self.rules.chain_mut(&name.text) {
            Some(chain) if chain.policy.is_some() => {
                chain.policy = Some(read_policy(line, policy)?);
                chain.policy_counters = counters;
            }
            Some(_) => {
                return Err(line.error(&name, format!("chain `{}` already exists", name.text)));
            }
            None if policy.text == "-" => {
                self.rules.chain_or_new(&name.text);
            }
            None => {
                return Err(self.no_such_chain(
                    line,
                    &name,
                    "only built-in chains have a policy: ",
                ));
            }
        }
        Ok(())
    }

    /// A line that is a command of iptables, with or without counters in front.
    pub fn command(
        &mut self,
        line: Line<'a>,
        words: &[Word],
        family: Family,
    ) -> Result<(), Diagnostic> {
        let counters = counter(&words[0]);
        let words = if counters.is_some() {
            &words[1..]
        } else {
            words
        };
        let Some((command, rest)) = words.split_first() else {
            return Err(line.error_all("a rule is missing after the counters"));
        };
        let needs = |what: &str| line.error(command, format!("`{}` needs {what}", command.text));
        let (name, rest) = match rest.split_first() {
            Some((name, rest)) if COMMANDS.contains(&command.text.as_str()) => (name, rest),
            None if COMMANDS.contains(&command.text.as_str()) => return Err(needs("a chain")),
            _ => {
                let message = format!("`{}` is not a line of a rule set", command.text);
                return Err(line.error_with(
                    command,
                    message,
                    did_you_mean(&command.text, COMMANDS),
                ));
            }
        };
        let at = match command.text.as_str() {
            "-N" | "--new-chain" => return self.new_chain(line, name, rest),
            "-P" | "--policy" => {
                let (policy, rest) = rest.split_first().ok_or_else(|| needs("a policy"))?;
                let policy = read_policy(line, policy)?;
                // `-S -v` adds `-c packets bytes`.
                let counted = match rest {
                    [] => None,
                    [option, ..] if option.text == "-c" => {
                        options::rule(line, rest, family)?.counters
                    }
                    [extra, ..] => return Err(line.error(extra, "nothing may follow a policy")),
                };
                return match self.rules.chain_mut(&name.text) {
                    Some(chain) if chain.policy.is_some() => {
                        chain.policy = Some(policy);
                        chain.policy_counters = counted.or(chain.policy_counters);
                        Ok(())
                    }
                    _ => {
                        Err(self.no_such_chain(line, name, "only built-in chains have a policy: "))
                    }
                };
            }
            "-I" | "--insert" => match rest.first().filter(|word| !word.is_option()) {
                Some(word) => Some((word.text.parse::<usize>().unwrap_or(0), word)),
                None => Some((1, name)),
            },
            _ => None,
        };
        let rest = if at.is_some_and(|(_, word)| word != name) {
            &rest[1..]
        } else {
            rest
        };
        let read = options::rule(line, rest, family)?;
        self.jumps.extend(read.jump.map(|word| (line, word)));
        let Some(chain) = self.rules.chain_mut(&name.text) else {
            return Err(self.no_such_chain(line, name, ""));
        };
        let rule = Rule {
            counters: counters.or(read.counters),
            ..Rule::new(read.spec)
        };
        match at {
            None => chain.rules.push(rule),
            Some((at, _)) if (1..=chain.rules.len() + 1).contains(&at) => {
                chain.rules.insert(at - 1, rule)
            }
            Some((_, word)) => {
                let message = format!(
                    "cannot insert here: `{}` has {} rules",
                    chain.name,
                    chain.rules.len()
                );
                return Err(line.error(word, message));
            }
        }
        Ok(())
    }

    /// The rules of the table, when every jump leads somewhere.
    pub fn close(self) -> Result<TableRules, Diagnostic> {
        self.check_jumps()?;
        Ok(self.rules)
    }

    fn check_jumps(&self) -> Result<(), Diagnostic> {
        for (line, word) in &self.jumps {
            let name = word.text.as_str();
            match self.rules.chain(name) {
                Some(Chain { policy: None, .. }) => {}
                Some(_) => {
                    let message = format!("a rule cannot jump to the built-in chain `{name}`");
                    return Err(line.error(word, message));
                }
                None => {
                    let chains = self.rules.chains().iter();
                    let user = chains.filter(|chain| chain.policy.is_none());
                    let mut known: Vec<&str> = user.map(|chain| chain.name.as_str()).collect();
                    for target in options::TARGETS.into_iter().chain(Target::extensions()) {
                        known.push(target);
                    }
                    let message = format!("chain `{name}` does not exist");
                    let declare =
                        || format!("make the chain before: `-N {name}` or `:{name} - [0:0]`");
                    let help = did_you_mean(name, known).or_else(|| Some(declare()));
                    return Err(line.error_with(word, message, help));
                }
            }
        }
        Ok(())
    }

    fn new_chain(&mut self, line: Line<'a>, name: &Word, rest: &[Word]) -> Result<(), Diagnostic> {
        if let Some(extra) = rest.first() {
            return Err(line.error(extra, "nothing may follow the name of a new chain"));
        }
        check_name(line, name)?;
        if self.rules.chain(&name.text).is_some() {
            return Err(line.error(name, format!("chain `{}` already exists", name.text)));
        }
        self.rules.chain_or_new(&name.text);
        Ok(())
    }

    fn no_such_chain(&self, line: Line<'a>, name: &Word, prefix: &str) -> Diagnostic {
        let known = self.rules.chains().iter().map(|chain| chain.name.as_str());
        let message = format!(
            "{prefix}chain `{}` does not exist in table `{}`",
            name.text, self.table
        );
        line.error_with(name, message, did_you_mean(&name.text, known))
    }
}

/// The commands a rule set is made of.
pub(in crate::rules) const COMMANDS: [&str; 8] = [
    "-N",
    "--new-chain",
    "-A",
    "--append",
    "-I",
    "--insert",
    "-P",
    "--policy",
];

pub(in crate::rules) fn check_name(line: Line<'_>, word: &Word) -> Result<(), Diagnostic> {
    let name = word.text.as_str();
    if name.is_empty()
        || name.starts_with(['-', '!', '[', ':', '*', '#'])
        || name.contains(['"', '\\'])
    {
        return Err(line.error(word, format!("`{name}` cannot name a chain")));
    }
    if name.contains(|it: char| it.is_whitespace() || it.is_control()) {
        return Err(line.error(word, "a chain name cannot hold white space"));
    }
    if name.len() > CHAIN_NAME_MAX {
        return Err(line.error(
            word,
            format!("a chain name has at most {CHAIN_NAME_MAX} bytes"),
        ));
    }
    if options::TARGETS.contains(&name) || Target::is_extension(name) {
        return Err(line.error(
            word,
            format!("`{name}` is a target, it cannot name a chain"),
        ));
    }
    Ok(())
}

pub(in crate::rules) fn read_policy(line: Line<'_>, word: &Word) -> Result<Policy, Diagnostic> {
    match word.text.as_str() {
        "ACCEPT" => Ok(Policy::Accept),
        "DROP" => Ok(Policy::Drop),
        other => Err(line.error(word, format!("`{other}` is not a policy: ACCEPT or DROP"))),
    }
}

/// `[packets:bytes]`
fn counter(word: &Word) -> Option<Counter> {
    let inner = word.text.strip_prefix('[')?.strip_suffix(']')?;
    let (packets, bytes) = inner.split_once(':')?;
    Some(Counter {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}
