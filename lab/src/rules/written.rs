//! Rules as text, the way the program that loads them takes them: iptables one text per family, nft one for both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::Family;
use super::parse::parse;
use super::read::read;
use super::set::RuleSet;
use crate::diagnostic::Diagnostic;

/// Texts of rules, and which program they are for. In JSON `{"ipv4": …, "ipv6": …}`, or `{"nft": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Written<T = String> {
    /// For nft, which takes the rules of both families at once.
    Nft {
        /// A transaction or a listing, as text or as JSON.
        nft: T,
    },
    /// For iptables and ip6tables: a restore text per family, the last variant since any map of families is one.
    Iptables(BTreeMap<Family, T>),
}

impl<T> Default for Written<T> {
    /// No text at all.
    fn default() -> Self {
        Self::Iptables(BTreeMap::new())
    }
}

impl<T> Written<T> {
    /// The text that holds the rules of a family.
    pub fn of(&self, family: Family) -> Option<&T> {
        match self {
            Self::Nft { nft } => Some(nft),
            Self::Iptables(texts) => texts.get(&family),
        }
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Iptables(texts) if texts.is_empty())
    }

    /// Whether nft takes it.
    pub fn is_nft(&self) -> bool {
        matches!(self, Self::Nft { .. })
    }

    /// The same with every text made into something else.
    pub fn map<U>(&self, mut made: impl FnMut(&T) -> U) -> Written<U> {
        match self {
            Self::Nft { nft } => Written::Nft { nft: made(nft) },
            Self::Iptables(texts) => {
                let made = texts.iter().map(|(family, text)| (*family, made(text)));
                Written::Iptables(made.collect())
            }
        }
    }
}

impl<T: AsRef<str>> Written<T> {
    /// The rules of a family; `None` where no text is for it. `origin` names the text in complaints.
    ///
    /// # Errors
    /// The first complaint about the text, with its place.
    pub fn rules(&self, family: Family, origin: &str) -> Result<Option<RuleSet>, Diagnostic> {
        match self {
            Self::Iptables(texts) => {
                let text = texts.get(&family);
                let set = text.map(|text| parse(text.as_ref(), family, origin));
                set.transpose()
            }
            Self::Nft { nft } => {
                let sets = of_nft(nft.as_ref(), origin)?;
                Ok(sets.into_iter().find(|set| set.family == family))
            }
        }
    }
}

/// The rules of a text for nft, of each family it is for: it is read once for both.
///
/// # Errors
/// The first complaint about the text, with its place.
pub fn of_nft(text: &str, origin: &str) -> Result<Vec<RuleSet>, Diagnostic> {
    read(text, origin, Family::V4)?.rules()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INET: &str = "add table inet t\nadd chain inet t output { type nat hook output priority -100 ; }\n\
                        add rule inet t output counter return\n";

    #[test]
    fn a_text_for_nft_holds_the_rules_of_both_families() {
        let written = Written::Nft {
            nft: INET.to_owned(),
        };
        for family in [Family::V4, Family::V6] {
            let set = written.rules(family, "a test").expect("readable");
            let set = set.expect("inet is for both");
            assert_eq!((set.family, set.len()), (family, 1));
        }
    }

    #[test]
    fn a_family_without_a_text_has_no_rules() {
        let v4 = BTreeMap::from([(Family::V4, "*nat\nCOMMIT\n".to_owned())]);
        let written = Written::Iptables(v4);
        assert_eq!(written.rules(Family::V6, "a test"), Ok(None));
    }

    #[test]
    fn both_kinds_are_told_apart_in_json() {
        let nft = Written::Nft {
            nft: INET.to_owned(),
        };
        let iptables = Written::Iptables(BTreeMap::from([(Family::V4, "*nat\n".to_owned())]));
        for written in [nft, iptables, Written::default()] {
            let json = serde_json::to_string(&written).expect("it has a JSON form");
            let back: Written = serde_json::from_str(&json).expect("as written");
            assert_eq!(back, written, "{json}");
        }
    }
}
