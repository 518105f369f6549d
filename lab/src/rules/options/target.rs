//! Reads the target of a rule from its name and options.

use super::{TARGETS, value};
use crate::diagnostic::Diagnostic;
use crate::rules::id::Family;
use crate::rules::matches::Matches;
use crate::rules::render::quoted;
use crate::rules::target::Target;
use crate::rules::values::Protocol;
use crate::rules::words::{Line, Word};

mod given;
mod logging;
mod marks;
mod nat;

use self::given::Given;

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
        family: Family,
        jump: &mut Option<Word>,
    ) -> Result<Target, Diagnostic> {
        let name = self.name.text.as_str();
        let builtin = TARGETS.contains(&name);
        if let (true, Some(option)) = (self.goto || builtin, self.options.first()) {
            return Err(line.error(option, format!("`{name}` takes no options")));
        }
        if self.goto && (builtin || Target::is_extension(name)) {
            return Err(line.error(
                self.name,
                format!("`-g` goes to a chain, and `{name}` is a target"),
            ));
        }
        Ok(match name {
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            _ if Target::is_extension(name) => {
                // Those `libxt_NAT` takes ports of.
                let ported = matches.only_protocol().map(Protocol::number);
                let ported = matches!(ported, Some(6 | 17 | 33 | 132));
                let mut given = Given::new(line, self.name, family, ported, &self.options);
                // What is left over was not understood, so neither is the target as a whole.
                let known = extension(name, &mut given)?;
                known
                    .filter(|_| given.is_empty())
                    .unwrap_or_else(|| self.verbatim())
            }
            _ if !self.options.is_empty() => self.verbatim(),
            _ => {
                *jump = Some(self.name.clone());
                if self.goto {
                    Target::Goto(name.to_owned())
                } else {
                    Target::Jump(name.to_owned())
                }
            }
        })
    }

    fn verbatim(&self) -> Target {
        let word = |it: &&Word| match it.is_option() {
            true => it.text.clone(),
            false => quoted(&it.text),
        };
        Target::Verbatim([self.name].iter().chain(&self.options).map(word).collect())
    }
}

/// A target extension this module knows; `None` for another, or for one without what it needs.
fn extension(name: &str, given: &mut Given<'_>) -> Result<Option<Target>, Diagnostic> {
    match name {
        "REDIRECT" => nat::redirect(given),
        "DNAT" => nat::dnat(given),
        "SNAT" => nat::snat(given),
        "MASQUERADE" => nat::masquerade(given),
        "TPROXY" => marks::tproxy(given),
        "MARK" => marks::mark(given),
        "CONNMARK" => marks::connmark(given),
        "CT" => marks::ct(given),
        "NOTRACK" => Ok(Some(Target::Notrack)),
        "LOG" => logging::log(given),
        "NFLOG" => logging::nflog(given),
        "REJECT" => logging::reject(given),
        "TRACE" => Ok(Some(Target::Trace)),
        _ => Ok(None),
    }
}
