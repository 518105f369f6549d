//! Reads the options of one rule: matches, target, and what is kept verbatim.

use super::id::Family;
use super::matches::{Match, Matches, RuleSpec, STATELESS};
use super::set::Counter;
use super::target::Target;
use super::values::{Interface, Negatable, Protocol};
use super::words::{Line, Word};
use crate::diagnostic::Diagnostic;

mod extension;
mod target;
mod value;

use self::target::ReadTarget;

/// The targets iptables itself has; a chain cannot have their names.
pub(super) const TARGETS: [&str; 3] = ["ACCEPT", "DROP", "RETURN"];

/// One rule as read.
pub(super) struct ReadRule {
    pub spec: RuleSpec,
    /// `-c packets bytes`
    pub counters: Option<Counter>,
    /// The chain the rule enters, to be checked when all chains are known.
    pub jump: Option<Word>,
}

/// Reads what follows `-A CHAIN`.
pub(super) fn rule(line: Line<'_>, words: &[Word], family: Family) -> Result<ReadRule, Diagnostic> {
    let mut reader = Reader {
        line,
        family,
        rest: words,
        matches: Matches::default(),
        context: Context::Base,
        loaded: Vec::new(),
        ports: None,
        port_list: None,
        target: None,
        counters: None,
    };
    while let Some(word) = reader.next() {
        reader.option(word)?;
    }
    reader.finish()
}

/// Whose option an unknown word would be.
enum Context {
    Base,
    Match(String),
    Target,
}

struct Reader<'a> {
    line: Line<'a>,
    family: Family,
    rest: &'a [Word],
    matches: Matches,
    context: Context,
    loaded: Vec<String>,
    /// An option or module that needs `-p tcp` or `-p udp`.
    ports: Option<&'a Word>,
    /// An option that needs a protocol with ports.
    port_list: Option<&'a Word>,
    target: Option<ReadTarget<'a>>,
    counters: Option<Counter>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a Word> {
        let (word, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(word)
    }

    fn value(&mut self, option: &Word) -> Result<&'a Word, Diagnostic> {
        let line = self.line;
        let missing = || line.error(option, format!("`{}` needs a value", option.text));
        let word = self.next().ok_or_else(missing)?;
        if word.is_option() && word.text != "-" {
            return Err(missing());
        }
        Ok(word)
    }

    fn option(&mut self, word: &'a Word) -> Result<(), Diagnostic> {
        let negated = !word.quoted && word.text == "!";
        let option = if negated {
            self.next().ok_or_else(|| {
                self.line
                    .error(word, "`!` negates the option after it, and there is none")
            })?
        } else {
            word
        };
        if !option.is_option() || option.text == "!" {
            return Err(self.line.error(
                option,
                format!("expected an option, found `{}`", option.text),
            ));
        }
        let plain = || match negated {
            true => Err(self
                .line
                .error(word, format!("`{}` cannot be negated", option.text))),
            false => Ok(()),
        };
        match option.text.as_str() {
            "-p" | "--protocol" | "--proto" => self.protocol(option, negated),
            "-s" | "--source" | "--src" | "-d" | "--destination" | "--dst" => {
                self.address(option, negated)
            }
            "-i" | "--in-interface" | "-o" | "--out-interface" => self.interface(option, negated),
            "-m" | "--match" => plain().and_then(|()| self.module(option)),
            "-j" | "--jump" | "-g" | "--goto" => plain().and_then(|()| self.jump(option)),
            "-c" | "--set-counters" => plain().and_then(|()| self.set_counters(option)),
            "-t" | "--table" => Err(self.line.error(
                option,
                "a rule file names its table in the `*` line, not with `-t`",
            )),
            _ => self.extension(option, negated),
        }
    }

    fn once<T>(
        line: Line<'_>,
        option: &Word,
        slot: &mut Option<T>,
        value: T,
    ) -> Result<(), Diagnostic> {
        match slot.replace(value) {
            Some(_) => Err(line.error(option, format!("`{}` is given twice", option.text))),
            None => Ok(()),
        }
    }

    fn protocol(&mut self, option: &Word, negated: bool) -> Result<(), Diagnostic> {
        let word = self.value(option)?;
        let every = word.text.eq_ignore_ascii_case("all") || word.text == "0";
        if every && !negated {
            return Ok(());
        }
        let known = Protocol::from_name(&word.text).filter(|_| !every);
        let value = known.ok_or_else(|| {
            self.line
                .error(word, format!("unknown protocol `{}`", word.text))
        })?;
        Self::once(
            self.line,
            option,
            &mut self.matches.protocol,
            Negatable { negated, value },
        )
    }

    fn address(&mut self, option: &'a Word, negated: bool) -> Result<(), Diagnostic> {
        let word = self.value(option)?;
        let Some(value) = value::network(self.line, word, self.family)? else {
            // A mask with holes has no prefix length.
            return self.verbatim(None, option, negated, &[word]);
        };
        if value.prefix_len() == 0 && !negated {
            return Ok(());
        }
        let source = option.text == "-s" || option.text.starts_with("--s");
        let slot = if source {
            &mut self.matches.source
        } else {
            &mut self.matches.destination
        };
        Self::once(self.line, option, slot, Negatable { negated, value })
    }

    fn interface(&mut self, option: &Word, negated: bool) -> Result<(), Diagnostic> {
        let word = self.value(option)?;
        let bad = || {
            self.line
                .error(word, format!("`{}` cannot name an interface", word.text))
        };
        let value = Interface::new(&word.text).ok_or_else(bad)?;
        if value.as_str() == "+" && !negated {
            return Ok(());
        }
        let inbound = option.text == "-i" || option.text.starts_with("--in");
        let slot = if inbound {
            &mut self.matches.in_interface
        } else {
            &mut self.matches.out_interface
        };
        Self::once(self.line, option, slot, Negatable { negated, value })
    }

    fn set_counters(&mut self, option: &Word) -> Result<(), Diagnostic> {
        let [packets, bytes] = [self.value(option)?, self.value(option)?].map(|word| {
            let number = word.text.parse::<u64>();
            number.map_err(|_| {
                self.line
                    .error(word, format!("`{}` is not a count", word.text))
            })
        });
        let counter = Counter {
            packets: packets?,
            bytes: bytes?,
        };
        Self::once(self.line, option, &mut self.counters, counter)
    }

    fn module(&mut self, option: &Word) -> Result<(), Diagnostic> {
        let word = self.value(option)?;
        let name = word.text.clone();
        if matches!(name.as_str(), "tcp" | "udp") {
            self.ports = Some(word);
        } else if !STATELESS.contains(&name.as_str()) {
            self.matches.add(Match::Verbatim {
                module: Some(name.clone()),
                words: Vec::new(),
            });
        }
        self.loaded.push(name.clone());
        self.context = Context::Match(name);
        Ok(())
    }

    fn jump(&mut self, option: &'a Word) -> Result<(), Diagnostic> {
        let name = self.value(option)?;
        let goto = matches!(option.text.as_str(), "-g" | "--goto");
        self.context = Context::Target;
        let target = ReadTarget {
            name,
            goto,
            options: Vec::new(),
        };
        Self::once(self.line, option, &mut self.target, target)
    }

    fn finish(self) -> Result<ReadRule, Diagnostic> {
        let transport = matches!(
            self.matches.only_protocol(),
            Some(Protocol::Tcp | Protocol::Udp)
        );
        if let (Some(word), false) = (self.ports, transport) {
            return Err(self
                .line
                .error(word, format!("`{}` needs `-p tcp` or `-p udp`", word.text)));
        }
        let ported = self
            .matches
            .only_protocol()
            .is_some_and(Protocol::has_ports);
        if let (Some(word), false) = (self.port_list, ported) {
            let message = format!(
                "`{}` needs a protocol with ports, such as `-p tcp`",
                word.text
            );
            return Err(self.line.error(word, message));
        }
        let mut jump = None;
        let target = match self.target {
            None => Target::None,
            Some(target) => target.read(self.line, &self.matches, self.family, &mut jump)?,
        };
        for module in STATELESS
            .into_iter()
            .filter(|it| !matches!(*it, "tcp" | "udp"))
        {
            // `state` is the older name of `conntrack`.
            let names = [
                module,
                if module == "state" {
                    "conntrack"
                } else {
                    module
                },
            ];
            let mut known = self.matches.extensions().iter().filter_map(Match::module);
            let used = known.any(|it| names.contains(&it));
            if !used && self.loaded.iter().any(|it| it == module) {
                return Err(self.line.error_all(format!(
                    "`-m {module}` is loaded and none of its options is given"
                )));
            }
        }
        Ok(ReadRule {
            spec: RuleSpec {
                matches: self.matches,
                target,
            },
            counters: self.counters,
            jump,
        })
    }
}
