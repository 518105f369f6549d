//! The flags of `istio-iptables`: names, short forms, variables, and the setting each one stands for.

mod go;
mod table;

use std::time::Duration;

pub(super) use go::go_bool;
use go::go_duration;
pub use table::FLAGS;

use super::settings::Settings;

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Long name.
    pub name: &'static str,
    /// Short name.
    pub short: Option<char>,
    /// What it does to the rules, for `--help`.
    pub help: &'static str,
    source: Source,
    slot: Slot,
}

/// Which variables stand for a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// None.
    FlagOnly,
    /// The one named after the flag.
    Named,
    /// The one named after the flag, and this one, which beats it.
    NamedAnd(&'static str),
}

/// The setting behind a flag.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Text(fn(&mut Settings) -> &mut String),
    Switch(fn(&mut Settings) -> &mut bool),
    Port(fn(&mut Settings) -> &mut u16),
    Time(fn(&mut Settings) -> &mut Duration),
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Nothing, or `=true`, `=false`.
    Switch,
    /// A port number.
    Port,
    /// A time like `5s` or `1m30s`.
    Time,
}

impl Kind {
    /// What would do.
    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::Text => "give a text",
            Self::Switch => "give true or false",
            Self::Port => "give a number from 0 to 65535",
            Self::Time => "give a number with a unit, like 5s or 1m30s",
        }
    }
}

impl Flag {
    /// What the flag takes.
    pub fn kind(&self) -> Kind {
        match self.slot {
            Slot::Text(_) => Kind::Text,
            Slot::Switch(_) => Kind::Switch,
            Slot::Port(_) => Kind::Port,
            Slot::Time(_) => Kind::Time,
        }
    }

    /// Variables that stand for the flag; a later one beats those before it.
    pub fn variables(&self) -> Vec<String> {
        let named = || self.name.to_ascii_uppercase().replace('-', "_");
        match self.source {
            Source::FlagOnly => Vec::new(),
            Source::Named => vec![named()],
            Source::NamedAnd(other) => vec![named(), other.to_owned()],
        }
    }

    /// The flag of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        FLAGS.iter().find(|flag| flag.name == name)
    }

    pub(super) fn set(&self, settings: &mut Settings, text: &str) -> Result<(), &'static str> {
        match self.slot {
            Slot::Text(field) => text.clone_into(field(settings)),
            Slot::Switch(field) => {
                *field(settings) = go_bool(text).ok_or("neither true nor false")?
            }
            Slot::Port(field) => *field(settings) = text.parse().map_err(|_| "no port number")?,
            Slot::Time(field) => *field(settings) = go_duration(text).ok_or("no time")?,
        }
        Ok(())
    }
}
