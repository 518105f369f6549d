//! A flag of an installer: its name, what it takes, and the setting it stands for.

use crate::istio::BadValue;

/// One flag that sets something in a configuration `C`.
#[derive(Debug)]
pub struct Flag<C: 'static> {
    /// Long name.
    pub name: &'static str,
    /// Short name, where the tool has one.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
    /// What it does to the rules, for `--help`.
    pub help: &'static str,
    /// The key in the tool's configuration file, for a setting that the tool has no flag for.
    pub key: Option<&'static str>,
    /// Sets it, from all values given.
    pub(crate) set: Setter<C>,
}

/// Sets a value in a configuration, or says why it can't.
pub(crate) type Setter<C> = fn(&mut C, &[&str]) -> Result<(), Wrong>;

/// What a flag takes; the name of its value is for `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=true`, `=false`.
    Switch,
    /// One value; the last one given counts.
    One(&'static str),
    /// Values between commas; several lists are one.
    List(&'static str),
    /// One value with commas of its own, as often as it is given.
    Each(&'static str),
}

/// A configuration that flags set, starting from its default.
pub trait Configuration: Default + 'static {
    /// Whose flags they are, as the heading of a list.
    const HEADING: &'static str;
    /// Every flag.
    const FLAGS: &'static [Flag<Self>];
}

/// Why a value can't be meant, and what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The value, or the part of it.
    pub value: String,
    /// Why not.
    pub why: String,
    /// What would do.
    pub fix: &'static str,
}

impl Wrong {
    pub(crate) fn new(value: &str, why: impl Into<String>, fix: &'static str) -> Self {
        Self {
            value: value.to_owned(),
            why: why.into(),
            fix,
        }
    }
}

impl<C> Flag<C> {
    /// Sets what the flag stands for from every value it was given, in order.
    ///
    /// # Errors
    /// A value that no rule can be made of, or that the tool refuses.
    pub fn apply(&self, config: &mut C, given: &[&str]) -> Result<(), BadValue> {
        let items: Vec<&str> = match self.takes {
            Takes::Switch | Takes::One(_) => given.last().copied().into_iter().collect(),
            Takes::Each(_) => given.to_vec(),
            Takes::List(_) => {
                let items = given.iter().flat_map(|list| list.split(','));
                items.filter(|item| !item.is_empty()).collect()
            }
        };
        (self.set)(config, &items).map_err(|wrong| BadValue {
            name: format!("--{}", self.name),
            value: wrong.value,
            why: wrong.why,
            fix: wrong.fix.to_owned(),
        })
    }
}
