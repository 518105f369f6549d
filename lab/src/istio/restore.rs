//! Restore text as Istio's builder writes it, for `iptables-restore --noflush`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::emit::{Emitted, is_own};
use crate::rules::Family;

/// The restore text of one family: tables in alphabetical order, each with its chains, its rules in emission order,
/// and a commit of its own. Empty when the family has no rule.
pub fn restore(rules: &[Emitted], family: Family) -> String {
    let mut tables: BTreeMap<&str, Vec<&Emitted>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.family == family) {
        tables.entry(rule.table.name()).or_default().push(rule);
    }
    let mut text = String::new();
    for (name, rules) in tables {
        let _ = writeln!(text, "* {name}");
        for chain in own_chains(&rules) {
            let _ = writeln!(text, "-N {chain}");
        }
        for rule in rules {
            let _ = writeln!(text, "{}", rule.line());
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// Chains to make: those that hold rules in order of first use, then those that are only jumped to.
fn own_chains<'a>(rules: &[&'a Emitted]) -> Vec<&'a str> {
    let holding = rules
        .iter()
        .map(|rule| rule.chain)
        .filter(|chain| is_own(chain));
    let targets = rules.iter().filter_map(|rule| rule.jumps_to());
    let mut chains = Vec::new();
    for chain in holding.chain(targets) {
        if !chains.contains(&chain) {
            chains.push(chain);
        }
    }
    chains
}
