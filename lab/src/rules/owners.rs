//! Owners given by name: which ones rules use, and the rules with numbers in their place. A name means what the
//! machine that loads the rules says it means; `iptables-save` prints the number.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::matches::Match;
use super::set::RuleSet;
use super::values::OwnerId;

/// Numbers of users and groups by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerNames {
    /// Users.
    pub users: BTreeMap<String, u32>,
    /// Groups.
    pub groups: BTreeMap<String, u32>,
}

impl OwnerNames {
    /// Numbers for the names that rules use, in alphabetical order from `first` on.
    pub fn of<'a>(sets: impl IntoIterator<Item = &'a RuleSet>, first: u32) -> Self {
        let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for set in sets {
            for rule in set.tables.keys().flat_map(|table| set.rules(*table)) {
                for condition in rule.1.spec.matches.extensions() {
                    match condition {
                        Match::OwnerUid(it) => users.extend(name(&it.value)),
                        Match::OwnerGid(it) => groups.extend(name(&it.value)),
                        _ => {}
                    }
                }
            }
        }
        let numbered = |names: BTreeSet<String>| names.into_iter().zip(first..).collect();
        Self {
            users: numbered(users),
            groups: numbered(groups),
        }
    }

    /// The rules with the numbers of these names. A name that is not known stays.
    pub fn resolve(&self, set: &RuleSet) -> RuleSet {
        let mut set = set.clone();
        for rule in set.rules_mut() {
            rule.spec.matches.change(|condition| match condition {
                Match::OwnerUid(it) => number(&mut it.value, &self.users),
                Match::OwnerGid(it) => number(&mut it.value, &self.groups),
                _ => {}
            });
        }
        set
    }
}

fn name(owner: &OwnerId) -> Option<String> {
    match owner {
        OwnerId::Name(name) => Some(name.clone()),
        OwnerId::Range { .. } => None,
    }
}

fn number(owner: &mut OwnerId, known: &BTreeMap<String, u32>) {
    let id = name(owner).and_then(|name| known.get(&name).copied());
    if let Some(id) = id {
        *owner = OwnerId::one(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Family, parse};

    #[test]
    fn names_get_numbers_in_alphabetical_order_and_numbers_stay() {
        let text = "*nat\n-A OUTPUT -m owner ! --gid-owner java -j RETURN\n\
                    -A OUTPUT -m owner --gid-owner ftp -m owner --uid-owner 7 -j RETURN\nCOMMIT\n";
        let read = |text: &str| parse(text, Family::V4, "a test").expect("valid");
        let set = read(text);
        let names = OwnerNames::of([&set], 3000);
        assert!(names.users.is_empty());
        let groups: Vec<(&str, u32)> = names.groups.iter().map(|(n, id)| (&**n, *id)).collect();
        assert_eq!(groups, [("ftp", 3000), ("java", 3001)]);
        let numbers = text.replace("java", "3001").replace("ftp", "3000");
        assert_eq!(names.resolve(&set), read(&numbers));
    }
}
