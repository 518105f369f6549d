//! Reads the target of a rule from its name and options.

use super::{TARGETS, value};
use crate::diagnostic::Diagnostic;
use crate::rules::matches::Matches;
use crate::rules::render::quoted;
use crate::rules::target::Target;
use crate::rules::words::{Line, Word};

/// `-j` or `-g` with its options.
pub(super) struct ReadTarget<'a> {
    pub name: &'a Word,
    pub goto: bool,
    /// Each option with its values.
    pub options: Vec<&'a Word>,
}

impl ReadTarget<'_> {
    /// The target; `jump` gets the word that names the chain it enters.
    pub fn read(
        self,
        line: Line<'_>,
        matches: &Matches,
        jump: &mut Option<Word>,
    ) -> Result<Target, Diagnostic> {
        let name = self.name.text.clone();
        let word = |it: &&Word| {
            if it.is_option() {
                it.text.clone()
            } else {
                quoted(&it.text)
            }
        };
        let verbatim =
            || Target::Verbatim([self.name].iter().chain(&self.options).map(word).collect());
        let builtin = TARGETS.contains(&name.as_str());
        if let (true, Some(option)) = (self.goto || builtin, self.options.first()) {
            return Err(line.error(option, format!("`{name}` takes no options")));
        }
        if self.goto && (builtin || Target::is_extension(&name)) {
            return Err(line.error(
                self.name,
                format!("`-g` goes to a chain, and `{name}` is a target"),
            ));
        }
        Ok(match name.as_str() {
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            "REDIRECT" => match self.options[..] {
                [] => Target::Redirect { ports: None },
                [option, ports] if matches!(option.text.as_str(), "--to-ports" | "--to-port") => {
                    if !matches
                        .only_protocol()
                        .is_some_and(|it| matches!(it.number(), 6 | 17 | 33 | 132))
                    {
                        return Err(
                            line.error(option, "redirecting to a port needs `-p tcp` or `-p udp`")
                        );
                    }
                    Target::Redirect {
                        ports: Some(value::ports(line, ports, '-')?),
                    }
                }
                [option] if option.text.starts_with("--to-port") => {
                    return Err(line.error(option, format!("`{}` needs a value", option.text)));
                }
                _ => verbatim(),
            },
            _ if Target::is_extension(&name) || !self.options.is_empty() => verbatim(),
            _ => {
                *jump = Some(self.name.clone());
                if self.goto {
                    Target::Goto(name)
                } else {
                    Target::Jump(name)
                }
            }
        })
    }
}
