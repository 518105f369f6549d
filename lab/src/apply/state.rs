//! What Istio since 1.24 finds out before it applies rules: is something of its own there, and is something missing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rules::{Family, RuleSet, TableRules, spec_text};

/// What is there, measured against what is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Chains of Istio's exist.
    pub residue: bool,
    /// What is not as planned, as far as Istio looks: in words, the first of each family.
    pub delta: Vec<String>,
}

/// Chains that Istio takes for its own.
pub(super) const OWN: &str = "ISTIO_";

impl State {
    /// Compares as Istio does: every planned table and chain is there, its own chains hold as many rules as planned and
    /// there are no more of them, and every planned rule is in its chain. Neither order nor other rules in built-in
    /// chains count, so rules in a wrong order pass.
    pub fn of(meant: &BTreeMap<Family, RuleSet>, found: &BTreeMap<Family, RuleSet>) -> Self {
        let residue = found.values().flat_map(|set| set.tables.values());
        let mut state = Self {
            residue: residue
                .into_iter()
                .any(|table| own_chains(table).next().is_some()),
            delta: Vec::new(),
        };
        for (family, meant) in meant {
            let nothing = RuleSet::empty(*family);
            let found = found.get(family).unwrap_or(&nothing);
            state.delta.extend(delta(meant, found));
        }
        state
    }
}

fn own_chains(table: &TableRules) -> impl Iterator<Item = &str> {
    let names = table.chains().iter().map(|chain| chain.name.as_str());
    names.filter(|name| name.starts_with(OWN))
}

fn delta(meant: &RuleSet, found: &RuleSet) -> Option<String> {
    let family = meant.family;
    for (name, table) in &meant.tables {
        let Some(there) = found.tables.get(name) else {
            return Some(format!("{family}: there is no table {name}"));
        };
        for chain in table.chains() {
            let Some(known) = there.chain(&chain.name) else {
                return Some(format!("{family}: there is no chain {name} {}", chain.name));
            };
            let (wanted, had) = (chain.rules.len(), known.rules.len());
            if chain.name.starts_with(OWN) && wanted != had {
                let chain = &chain.name;
                return Some(format!(
                    "{family}: {name} {chain} has {had} rules, planned are {wanted}"
                ));
            }
            for rule in &chain.rules {
                if !known.rules.iter().any(|it| it.spec == rule.spec) {
                    let text = spec_text(&chain.name, &rule.spec);
                    return Some(format!("{family}: {name} lacks `{text}`"));
                }
            }
        }
    }
    for (name, table) in &found.tables {
        let planned = meant.tables.get(name);
        let extra =
            own_chains(table).find(|chain| planned.is_none_or(|it| it.chain(chain).is_none()));
        if let Some(chain) = extra {
            return Some(format!("{family}: {name} {chain} is not planned"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse;

    fn sets(text: &str) -> BTreeMap<Family, RuleSet> {
        let set = parse(text, Family::V4, "a test").expect("valid");
        BTreeMap::from([(Family::V4, set)])
    }

    const PLANNED: &str = "*nat\n-N ISTIO_OUTPUT\n-A OUTPUT -j ISTIO_OUTPUT\n\
        -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";

    fn found(text: &str) -> State {
        State::of(&sets(PLANNED), &sets(text))
    }

    #[test]
    fn an_empty_pod_has_no_residue_and_lacks_everything() {
        let state = State::of(&sets(PLANNED), &BTreeMap::new());
        assert!(!state.residue);
        assert_eq!(state.delta, ["IPv4: there is no table nat"]);
    }

    #[test]
    fn rules_in_a_wrong_order_pass() {
        let mut lines: Vec<&str> = PLANNED.lines().collect();
        lines.swap(3, 4);
        let state = found(&(lines.join("\n") + "\n"));
        assert!(state.residue && state.delta.is_empty(), "{state:?}");
    }

    #[test]
    fn rules_of_others_in_a_built_in_chain_pass() {
        let more = PLANNED.replace("COMMIT", "-A OUTPUT -p udp -j ACCEPT\nCOMMIT");
        assert!(found(&more).delta.is_empty());
    }

    #[test]
    fn another_number_of_rules_and_a_chain_too_many_are_told() {
        let less = PLANNED.replace("-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n", "");
        assert_eq!(
            found(&less).delta,
            ["IPv4: nat ISTIO_OUTPUT has 1 rules, planned are 2"]
        );
        let more = PLANNED.replace("COMMIT", "-N ISTIO_OLD\nCOMMIT");
        assert_eq!(found(&more).delta, ["IPv4: nat ISTIO_OLD is not planned"]);
    }
}
