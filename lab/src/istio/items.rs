//! Items of Istio's comma lists: ports, owners, interfaces. Kept as the text that goes into the rule, once it is sure
//! that the text is one word that iptables can mean something by.

use std::fmt;

use super::{BadValue, Warning};

/// Splits as Istio does: at commas, empty items dropped, nothing trimmed.
pub(super) fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|item| !item.is_empty())
}

/// One item of a list.
pub(super) trait Item: Sized {
    /// What an item is, for an error.
    const WHAT: &'static str;
    /// The item, or nothing when no rule can be made of it. Comes trimmed.
    fn is_valid(word: &str) -> bool;
    /// The machine that applies the rules has to look the word up.
    fn is_name(word: &str) -> bool;
    /// Takes the text as it stands in the list.
    fn of(text: String) -> Self;
}

/// Reads a list, with what Istio would do to it in silence.
pub(super) fn items<T: Item>(
    name: &'static str,
    list: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<T>, BadValue> {
    let item = |text: &str| {
        let word = text.trim();
        if !T::is_valid(word) {
            let why = format!("`{text}` is not {}", T::WHAT);
            return Err(BadValue::new(
                name,
                list,
                why,
                "give a comma list, without spaces",
            ));
        }
        let value = text.to_owned();
        if word != text {
            warnings.push(Warning::SpaceKept {
                name,
                value: value.clone(),
            });
        }
        if T::is_name(word) {
            warnings.push(Warning::Name {
                name,
                value: value.clone(),
            });
        }
        Ok(T::of(value))
    };
    split(list).map(item).collect()
}

/// One word without anything a restore file or nft could take for something else.
fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && word.chars().all(plain)
}

/// A plain name; something like `80-90` is none.
fn is_word(word: &str) -> bool {
    is_plain(word) && word.contains(|c: char| c.is_ascii_alphabetic())
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

/// A port, a range `first:last`, or the name of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port(String);

impl Item for Port {
    const WHAT: &'static str = "a port (a number up to 65535, or `first:last`)";

    fn is_valid(word: &str) -> bool {
        let number = |n: &str| is_number(n).then(|| n.parse::<u16>().ok()).flatten();
        match word.split_once(':') {
            Some((first, last)) => {
                matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b)
            }
            None if is_number(word) => number(word).is_some(),
            None => is_word(word),
        }
    }

    fn is_name(word: &str) -> bool {
        !word.contains(':') && !is_number(word)
    }

    fn of(text: String) -> Self {
        Self(text)
    }
}

/// A user or group: an id, or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Item for Owner {
    const WHAT: &'static str = "a user or group (an id, or a name)";

    fn is_valid(word: &str) -> bool {
        if is_number(word) {
            word.parse::<u32>().is_ok()
        } else {
            is_word(word)
        }
    }

    fn is_name(word: &str) -> bool {
        !is_number(word)
    }

    fn of(text: String) -> Self {
        Self(text)
    }
}

/// An interface; a `+` at its end stands for any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic(String);

impl Item for Nic {
    const WHAT: &'static str = "an interface (up to 15 letters, digits and `_.-@`)";

    fn is_valid(word: &str) -> bool {
        let stem = word.strip_suffix('+').unwrap_or(word);
        word.len() <= 15 && is_plain(&stem.replace('@', "-"))
    }

    fn is_name(_: &str) -> bool {
        false
    }

    fn of(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
