//! Reads the options of match and target extensions, and keeps word for word those that are not modelled.

use super::{Context, Reader, value};
use crate::diagnostic::Diagnostic;
use crate::rules::address_kind::End;
use crate::rules::matches::{Match, STATELESS};
use crate::rules::render::quoted;
use crate::rules::tcp_flags::TcpFlagTest;
use crate::rules::values::{Negatable, Protocol};
use crate::rules::words::Word;

/// Modelled options with the one match that has them.
const OWNERS: [(&str, &str); 14] = [
    ("--sports", "multiport"),
    ("--source-ports", "multiport"),
    ("--dports", "multiport"),
    ("--destination-ports", "multiport"),
    ("--ports", "multiport"),
    ("--tcp-flags", "tcp"),
    ("--syn", "tcp"),
    ("--socket-exists", "owner"),
    ("--ctstate", "conntrack"),
    ("--state", "state"),
    ("--mark", "mark"),
    ("--src-type", "addrtype"),
    ("--dst-type", "addrtype"),
    ("--comment", "comment"),
];

impl<'a> Reader<'a> {
    /// An option of a match or target extension.
    pub(super) fn extension(&mut self, option: &'a Word, negated: bool) -> Result<(), Diagnostic> {
        let module = match &self.context {
            Context::Match(module) => Some(module.as_str()),
            Context::Base | Context::Target => None,
        };
        let loaded = |name: &str| self.loaded.iter().any(|it| it == name);
        let transport = matches!(
            self.matches.only_protocol(),
            Some(Protocol::Tcp | Protocol::Udp)
        );
        let transport = transport || matches!(module, Some("tcp" | "udp"));
        let line = self.line;
        match option.text.as_str() {
            // getopt takes it for an abbreviation while no match with an option of just this name is loaded.
            name @ ("--sport" | "--source-port" | "--dport" | "--destination-port")
                if module == Some("multiport") && self.ports.is_none() =>
            {
                self.port_list = Some(option);
                let end = match name.starts_with("--s") {
                    true => End::Source,
                    false => End::Destination,
                };
                let value = value::port_list(line, self.value(option)?)?;
                let ports = Negatable { negated, value };
                self.matches.add(Match::Ports {
                    end: Some(end),
                    ports,
                });
            }
            name @ ("--sport" | "--source-port" | "--dport" | "--destination-port")
                if transport =>
            {
                self.ports = Some(option);
                let ports = Negatable {
                    negated,
                    value: value::ports(line, self.value(option)?, ':')?,
                };
                let source = name.starts_with("--s");
                self.matches.add(if source {
                    Match::SourcePort(ports)
                } else {
                    Match::DestinationPort(ports)
                });
            }
            "--sport" | "--source-port" | "--dport" | "--destination-port"
                if self.matches.protocol.is_none() =>
            {
                return Err(line.error(
                    option,
                    format!("`{}` needs `-p tcp` or `-p udp` before it", option.text),
                ));
            }
            "--tcp-flags" if transport => {
                self.ports = Some(option);
                let (mask, wanted) = (self.value(option)?, self.value(option)?);
                let value = TcpFlagTest {
                    mask: value::tcp_flags(line, mask)?,
                    wanted: value::tcp_flags(line, wanted)?,
                };
                self.matches
                    .add(Match::TcpFlags(Negatable { negated, value }));
            }
            "--syn" if transport => {
                self.ports = Some(option);
                let value = TcpFlagTest::SYN;
                self.matches
                    .add(Match::TcpFlags(Negatable { negated, value }));
            }
            name @ ("--sports"
            | "--source-ports"
            | "--dports"
            | "--destination-ports"
            | "--ports")
                if loaded("multiport") =>
            {
                self.port_list = Some(option);
                let end = match name {
                    "--ports" => None,
                    name if name.starts_with("--s") => Some(End::Source),
                    _ => Some(End::Destination),
                };
                let value = value::port_list(line, self.value(option)?)?;
                let ports = Negatable { negated, value };
                self.matches.add(Match::Ports { end, ports });
            }
            "--socket-exists" if loaded("owner") => self.matches.add(Match::SocketExists(!negated)),
            name @ ("--uid-owner" | "--gid-owner") if loaded("owner") => {
                let owner = Negatable {
                    negated,
                    value: value::owner(line, self.value(option)?)?,
                };
                let user = name == "--uid-owner";
                self.matches.add(if user {
                    Match::OwnerUid(owner)
                } else {
                    Match::OwnerGid(owner)
                });
            }
            "--uid-owner" | "--gid-owner" => {
                return Err(line.error(
                    option,
                    format!("`{}` needs `-m owner` before it", option.text),
                ));
            }
            "--ctstate" if loaded("conntrack") => {
                let word = self.value(option)?;
                let value = value::states(line, word)?;
                self.matches
                    .add(Match::CtState(Negatable { negated, value }));
            }
            "--state" if loaded("state") => {
                let value = value::states(line, self.value(option)?)?;
                self.matches
                    .add(Match::CtState(Negatable { negated, value }));
            }
            name @ ("--src-type" | "--dst-type") if loaded("addrtype") => {
                let end = match name {
                    "--src-type" => End::Source,
                    _ => End::Destination,
                };
                let value = value::address_kinds(line, self.value(option)?)?;
                let kinds = Negatable { negated, value };
                self.matches.add(Match::AddressKind { end, kinds });
            }
            "--mark" if module == Some("connmark") || (loaded("connmark") && !loaded("mark")) => {
                let value = value::mark(line, self.value(option)?)?;
                self.matches
                    .add(Match::ConnMark(Negatable { negated, value }));
            }
            "--mark" if loaded("mark") => {
                let value = value::mark(line, self.value(option)?)?;
                self.matches.add(Match::Mark(Negatable { negated, value }));
            }
            "--comment" if loaded("comment") && !negated => {
                let word = self
                    .next()
                    .ok_or_else(|| line.error(option, "`--comment` needs a value"))?;
                self.matches.add(Match::Comment(word.text.clone()));
            }
            name if !matches!(self.context, Context::Target) => {
                // Kept verbatim in another match, the option would be read as its own match's after sorting.
                if let Some((_, module)) = OWNERS.iter().find(|(known, _)| *known == name) {
                    let message = format!("`{name}` needs `-m {module}` before it");
                    return Err(line.error(option, message));
                }
                return self.unmodelled(option, negated);
            }
            _ => return self.unmodelled(option, negated),
        }
        Ok(())
    }

    fn unmodelled(&mut self, option: &'a Word, negated: bool) -> Result<(), Diagnostic> {
        let base = matches!(option.text.as_str(), "-f" | "--fragment");
        if !base && !option.text.starts_with("--") {
            return Err(self
                .line
                .error(option, format!("unknown option `{}`", option.text)));
        }
        let mut values = Vec::new();
        while let Some(word) = self.rest.first().filter(|word| !base && !word.is_option()) {
            self.rest = &self.rest[1..];
            values.push(word);
        }
        let module = match (&self.context, base) {
            (Context::Target, false) if negated => {
                return Err(self
                    .line
                    .error(option, "an option of a target cannot be negated"));
            }
            (Context::Target, false) => {
                if let Some(target) = &mut self.target {
                    target.options.push(option);
                    target.options.extend(values);
                }
                return Ok(());
            }
            (_, true) => None,
            (Context::Match(module), false) => Some(module.clone()),
            // iptables loads the match of the protocol for an option it does not know yet.
            (Context::Base, false) => match self.matches.only_protocol() {
                Some(protocol) => {
                    let name = protocol.to_string();
                    self.context = Context::Match(name.clone());
                    if !STATELESS.contains(&name.as_str()) {
                        self.matches.add(Match::Verbatim {
                            module: Some(name.clone()),
                            words: Vec::new(),
                        });
                    }
                    Some(name)
                }
                None => {
                    return Err(self
                        .line
                        .error(option, format!("unknown option `{}`", option.text)));
                }
            },
        };
        self.verbatim(module, option, negated, &values)
    }

    /// Keeps an option word for word: with the other options of its match when that is verbatim as a whole.
    pub(super) fn verbatim(
        &mut self,
        module: Option<String>,
        option: &Word,
        negated: bool,
        values: &[&Word],
    ) -> Result<(), Diagnostic> {
        let words = negated.then(|| "!".to_owned()).into_iter();
        let words = words
            .chain([option.text.clone()])
            .chain(values.iter().map(|word| quoted(&word.text)));
        if !self
            .matches
            .extend_verbatim(module.as_deref(), words.clone())
        {
            self.matches.add(Match::Verbatim {
                module,
                words: words.collect(),
            });
        }
        Ok(())
    }
}
