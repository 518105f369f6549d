//! The rules of a source as one whole, for verbs that apply them to a pod.

use super::{Source, Text};
use crate::{
    GivenRules,
    failure::{Class, Failure},
    profiles::Profile,
    rules::Family,
};

/// What a pod gets.
pub(in crate::cli) enum Given {
    /// Rules, and nothing that says what goes with them.
    Rules(GivenRules),
    /// A mesh's, with what goes with them.
    Profile(Box<Profile>),
}

/// The rules of a source. `family` is taken where a text does not tell.
///
/// # Errors
/// As [`Source::open`]; a process has none, or several sets of them; the first complaint about the text.
pub(in crate::cli) fn given(source: &Source, family: Family) -> Result<Given, Failure> {
    let text = only(source, source.open()?)?;
    // For what it says of the text.
    text.read(family)?;
    match text.profile {
        Some(profile) => Ok(Given::Profile(profile)),
        None => GivenRules::read(&text.text, &text.origin, family).map(Given::Rules),
    }
}

fn only(source: &Source, mut texts: Vec<Text>) -> Result<Text, Failure> {
    match (texts.len(), texts.pop()) {
        (1, Some(text)) => Ok(text),
        (_, None) => Err(Failure::new(Class::Input, format!("{source} has no rules"))),
        (_, Some(last)) => {
            let what = format!("{source} has several sets of rules");
            Err(Failure::new(Class::Input, what)
                .hint(format!("name one of them, such as {}", last.origin)))
        }
    }
}
