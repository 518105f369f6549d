//! Jumps to nowhere, and chains that enter each other in a circle.

use super::{Finding, Mistake};
use crate::rules::{RuleId, RuleSet, Table, TableRules};

pub(super) fn check(set: &RuleSet) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (table, chains) in &set.tables {
        for (id, rule) in set.rules(*table) {
            let Some(name) = rule.spec.target.chain() else {
                continue;
            };
            if chains.chain(name).is_none() {
                let because = format!("chain `{name}` does not exist");
                findings.push(Finding::new(Mistake::JumpToNowhere, set, id, because));
            }
        }
        findings.extend(loops(set, *table, chains));
    }
    findings
}

/// One finding for each chain that a walk from it enters again, at the rule that closes the circle.
fn loops(set: &RuleSet, table: Table, chains: &TableRules) -> Vec<Finding> {
    let mut done: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for chain in chains.chains() {
        // The chains on the way, each with the index of the next rule to look at.
        let mut way: Vec<(&str, usize)> = vec![(chain.name.as_str(), 0)];
        while let Some((name, at)) = way.last_mut() {
            let (name, index) = (*name, *at);
            *at += 1;
            let rule = chains.chain(name).and_then(|it| it.rules.get(index));
            let Some(rule) = rule.filter(|_| !done.contains(&name)) else {
                done.push(name);
                way.pop();
                continue;
            };
            let Some(next) = rule.spec.target.chain() else {
                continue;
            };
            if let Some(start) = way.iter().position(|(name, _)| *name == next) {
                let circle = way[start..].iter().map(|(name, _)| *name).chain([next]);
                let circle: Vec<&str> = circle.collect();
                let ordinal = u32::try_from(index + 1).unwrap_or(u32::MAX);
                let id = RuleId::new(set.family, table, name, ordinal);
                let because = format!("it closes the circle {}", circle.join(" -> "));
                findings.push(Finding::new(Mistake::Loop, set, id, because));
            } else if !done.contains(&next) {
                way.push((next, 0));
            }
        }
    }
    findings
}
