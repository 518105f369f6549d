//! Rules of nft's own, changed for controls.

use hoplab::rules::{RuleId, RuleSet, Written};

/// A transaction of Istio's without one rule.
///
/// # Panics
/// There is no such rule.
pub fn nft_without(text: &str, rule: &RuleId) -> String {
    let set = |text: &str| -> RuleSet {
        let written = Written::Nft { nft: text };
        let set = written.rules(rule.family, "the transaction");
        set.expect("readable").expect("inet is for both families")
    };
    let whole = set(text);
    assert!(whole.rule(rule).is_some(), "there is no rule {rule}");
    let rest = whole.without(rule);
    let lines = in_order(text);
    let all_but = |left_out: usize| {
        let others = lines.iter().enumerate().filter(|(at, _)| *at != left_out);
        others
            .map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    let found = (0..lines.len())
        .filter(|at| lines[*at].starts_with("add rule "))
        .map(all_but)
        .find(|text| set(text) == rest);
    found.unwrap_or_else(|| panic!("no one line is the rule {rule}"))
}

/// The same with rules in the order they end up in, none inserted: leaving one out moves no other then.
fn in_order(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let Some(words) = line.strip_prefix("insert rule ") else {
            lines.push(line.to_owned());
            continue;
        };
        let (chain, rest) = words.split_once(" index ").expect("an insert has an index");
        let (index, rule) = rest.split_once(' ').expect("an index and a rule");
        let index: usize = index.parse().expect("a number");
        let of_chain = format!("add rule {chain} ");
        let mut places = (0..lines.len()).filter(|at| lines[*at].starts_with(&of_chain));
        let at = places.nth(index).expect("the chain is as long");
        lines.insert(at, format!("{of_chain}{rule}"));
    }
    lines
}
