//! Whether iptables and the kernel take each piece of the lab's rules, and hold it afterwards.

use std::collections::BTreeMap;

use super::{
    check::NeededBy,
    pieces::{CHAIN, PIECES, Piece, table_fix},
    sheet::{Sheet, Step, Trial},
};
use crate::{
    failure::{Class, Failure},
    net::Namespace,
    netfilter::{self, Backend, NetfilterError, Tool},
    plan::RuleTexts,
    rules::{Family, Written},
};

/// The pieces that the traffic checks build on.
pub(super) struct Accepted {
    pub uid_owner: Step<()>,
    pub redirect: Step<()>,
}

pub(super) fn examine(
    sheet: &mut Sheet,
    start: &Step<()>,
    backend: Backend,
    family: Family,
) -> Accepted {
    let place = Place { backend, family };
    let trial = Trial::new(
        place.id("nat-table"),
        "the nat table, a chain of its own",
        place.needed_by(),
        table_fix(backend, family),
    );
    let table = sheet.try_after(start.by_ref(), trial, |()| {
        place.accepts("table", "").map_err(|error| {
            place.failure("up a nat table", error, |_| table_fix(backend, family))
        })?;
        Ok(((), netfilter::version(backend)?))
    });
    // All at once first, which is ten times as fast; only a refusal makes it worth to find out which.
    let every: Vec<String> = PIECES.iter().map(|p| p.rule(family)).collect();
    let all = table
        .by_ref()
        .map(|()| place.accepts("pieces", &every.join("\n")));
    let all_accepted = matches!(all.value(), Some(Ok(())));
    let mut accepted = Accepted {
        uid_owner: table.clone(),
        redirect: table.clone(),
    };
    for piece in PIECES {
        let trial = Trial::new(place.id(piece.id), piece.words, place.needed_by(), "");
        let step = sheet.try_after(table.by_ref(), trial, |()| {
            if !all_accepted {
                place.accepts_piece(piece)?;
            }
            Ok(((), String::new()))
        });
        match piece.id {
            "uid-owner" => accepted.uid_owner = step,
            "redirect" => accepted.redirect = step,
            _ => {}
        }
    }
    accepted
}

/// A backend and a family: one of the four iptables.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub backend: Backend,
    pub family: Family,
}

impl Place {
    /// Id of a check, and name of a namespace.
    pub fn id(self, what: &str) -> String {
        format!("{}-{}-{what}", self.backend, self.family.key())
    }

    pub fn needed_by(self) -> NeededBy {
        match self.family {
            Family::V4 => NeededBy::Backend(self.backend),
            Family::V6 => NeededBy::Ipv6With(self.backend),
        }
    }

    /// A file for this family alone.
    pub fn file(self, rules: &str) -> RuleTexts {
        let text = format!("*nat\n-N {CHAIN}\n{rules}\nCOMMIT\n");
        let mut texts = BTreeMap::from([(Family::V4, String::new())]);
        texts.insert(self.family, text);
        RuleTexts {
            written: Written::Iptables(texts),
            ..RuleTexts::default()
        }
    }

    /// Applies rules as labs do, in a namespace of their own, and reads them back.
    fn accepts(self, name: &str, rules: &str) -> Result<(), Failed> {
        let namespace = Namespace::create(&self.id(name)).map_err(Failure::from)?;
        let (texts, backend) = (self.file(rules), self.backend);
        namespace
            .job(move |inside| netfilter::apply(backend, &texts, &inside.name))
            .wait()
            .map_err(Failure::from)??;
        Ok(())
    }

    fn accepts_piece(self, piece: &Piece) -> Result<(), Failure> {
        let Self { backend, family } = self;
        self.accepts(piece.id, &piece.rule(family))
            .map_err(|error| {
                let what = format!("`{}`", piece.words);
                self.failure(&what, error, |words| piece.fix(backend, family, words))
            })
    }

    fn failure(self, what: &str, error: Failed, fix: impl Fn(&str) -> String) -> Failure {
        let program = self.backend.program(self.family, Tool::Restore);
        match error {
            Failed::Refused(words) => {
                Failure::new(Class::Machine, format!("`{program}` can't set {what}"))
                    .hint(fix(&words))
                    .cause(words)
            }
            Failed::Otherwise(failure) => failure,
        }
    }
}

/// Why rules are not there.
enum Failed {
    /// What iptables said.
    Refused(String),
    Otherwise(Failure),
}

impl From<NetfilterError> for Failed {
    fn from(error: NetfilterError) -> Self {
        match error {
            NetfilterError::Failed { words, .. } => {
                let said = words
                    .lines()
                    .map(str::trim_end)
                    .filter(|l| !l.is_empty() && !l.starts_with("Try `"));
                let said: Vec<&str> = said.collect();
                Self::Refused(said.join("\n"))
            }
            other => Self::Otherwise(other.into()),
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Otherwise(failure)
    }
}
