//! A rule set as JSON, for programs that are not this one.

use serde_json::{Value, json};

use super::id::{RuleId, Table};
use super::render::spec_text;
use super::rounded::{CountRange, Rounded};
use super::set::{Chain, Counter, Rule, RuleSet, TableRules};

/// The rules with their ids, text and counters. `text` is the rule as `iptables-save` prints it, which
/// [`super::parse`] reads back; `modelled` is false where it holds something this program only repeats. A count is a
/// number, or `{least, most}` where a listing rounded it.
pub fn to_json(rules: &RuleSet) -> Value {
    let tables = rules
        .tables
        .iter()
        .map(|(table, chains)| table_json(rules, *table, chains));
    json!({
        "family": rules.family,
        "tables": tables.collect::<Vec<_>>(),
    })
}

fn table_json(rules: &RuleSet, table: Table, chains: &TableRules) -> Value {
    let chains = chains
        .chains()
        .iter()
        .map(|chain| chain_json(rules, table, chain));
    json!({
        "name": table,
        "chains": chains.collect::<Vec<_>>(),
    })
}

fn chain_json(rules: &RuleSet, table: Table, chain: &Chain) -> Value {
    let numbered = (1..).zip(&chain.rules);
    let lines = numbered.map(|(ordinal, rule)| {
        let id = RuleId::new(rules.family, table, &chain.name, ordinal);
        rule_json(&id, rule)
    });
    json!({
        "name": chain.name,
        "policy": chain.policy.map(|policy| policy.to_string()),
        "counters": counters(chain.policy_counters, chain.policy_rounded),
        "rules": lines.collect::<Vec<_>>(),
    })
}

fn rule_json(id: &RuleId, rule: &Rule) -> Value {
    json!({
        "id": id,
        "text": spec_text(&id.chain, &rule.spec),
        "target": rule.spec.target.name(),
        "modelled": rule.spec.is_modelled(),
        "counters": counters(rule.counters, rule.rounded),
    })
}

fn counters(exact: Option<Counter>, rounded: Option<Rounded>) -> Value {
    let range = |range: CountRange| match range.exact() {
        Some(count) => json!(count),
        None => json!(range),
    };
    match (exact, rounded) {
        (Some(it), _) => json!({ "packets": it.packets, "bytes": it.bytes }),
        (None, Some(it)) => json!({ "packets": range(it.packets), "bytes": range(it.bytes) }),
        (None, None) => Value::Null,
    }
}
