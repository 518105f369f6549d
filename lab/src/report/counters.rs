//! nat tables with counters, as `iptables -t nat -L -v` shows them.

use std::fmt::Write as _;

use super::Style;
use crate::{
    evidence::Evidence,
    rules::{Chain, CounterSnapshot, Family, RuleId, RuleSet, Table, list_verbose},
};

/// `iptables -t nat -L -v` of every pod with rules, from the final counters.
pub fn counters(evidence: &Evidence) -> String {
    let mut out = String::new();
    for pod in &evidence.up.pods {
        for family in [Family::V4, Family::V6] {
            let last = evidence.totals.get(&pod.name);
            let last = last.and_then(|t| t.iter().find(|c| c.family == family));
            let held = pod.rules.rules(family, "the rules in the evidence");
            let Ok(Some(mut rules)) = held else {
                continue;
            };
            if let Some(last) = last {
                count(&mut rules, last);
            }
            let title = format!("{} ({family})", pod.name);
            let _ = writeln!(
                out,
                "{}\n{}",
                Style::bold(&title),
                list_verbose(&rules, Table::Nat)
            );
        }
    }
    out
}

/// Writes a snapshot's counters into a rule set.
fn count(rules: &mut RuleSet, snapshot: &CounterSnapshot) {
    let family = rules.family;
    for (table, chains) in &mut rules.tables {
        let names: Vec<String> = chains
            .chains()
            .iter()
            .map(|c: &Chain| c.name.clone())
            .collect();
        for name in names {
            let Some(chain) = chains.chain_mut(&name) else {
                continue;
            };
            for (place, rule) in (1..).zip(&mut chain.rules) {
                let id = RuleId::new(family, *table, &name, place);
                rule.counters = snapshot.rules.get(&id).copied();
            }
        }
    }
}
