//! Whether a run came out as its lab file says: everything holds, or exactly the flows a variant names are refuted.

use std::collections::BTreeSet;

use super::{Finding, FlowVerdict, Judgement, Verdict};
use crate::topology::Variant;

/// What came out otherwise, in words; empty when everything is as expected. Without a variant everything must hold.
pub fn unexpected(variant: Option<&Variant>, judgement: &Judgement) -> Vec<String> {
    let Some(variant) = variant.filter(|it| !it.holds) else {
        return must_hold(judgement);
    };
    let wanted: BTreeSet<&str> = variant.flows.iter().map(String::as_str).collect();
    let mut words = Vec::new();
    for flow in &judgement.flows {
        let meant = match wanted.contains(flow.flow.as_str()) {
            true => Verdict::Refuted,
            false => Verdict::Holds,
        };
        if flow.verdict != meant {
            let name = judgement.name_of(flow);
            words.push(format!(
                "flow {name}: {}, and {meant} was expected",
                flow.verdict
            ));
        }
    }
    if let Some(rule) = &variant.rule {
        let mut refuted = judgement
            .flows
            .iter()
            .filter(|it| it.verdict == Verdict::Refuted);
        if !refuted.any(|flow| names(flow, rule)) {
            words.push(format!("no refuted flow names the rule {rule}"));
        }
    }
    words
}

fn must_hold(judgement: &Judgement) -> Vec<String> {
    let flows = judgement.flows.iter();
    let bad = flows.filter(|flow| flow.verdict != Verdict::Holds);
    let mut words: Vec<String> = bad
        .map(|flow| format!("flow {}: {}", judgement.name_of(flow), flow.verdict))
        .collect();
    if words.is_empty() && judgement.verdict != Verdict::Holds {
        words.push(format!("the run: {}", judgement.verdict));
    }
    words
}

/// Whether a witness contradicts in words that name a rule: `ISTIO_OUTPUT 4`.
fn names(flow: &FlowVerdict, rule: &str) -> bool {
    let checks = flow.claims.iter().flat_map(|claim| &claim.checks);
    let mut bad = checks.filter(|check| {
        matches!(
            check.finding,
            Finding::Contradicts { .. } | Finding::Disagrees { .. }
        )
    });
    bad.any(|check| is_named(&check.to_string(), rule))
}

/// The words hold the rule, and not only the beginning of another's name.
fn is_named(words: &str, rule: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    words.match_indices(rule).any(|(at, _)| {
        let before = words[..at].chars().next_back();
        let after = words[at + rule.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_named;

    #[rstest]
    #[case::alone("counters pod: wanted ISTIO_OUTPUT 1 `-A`", true)]
    #[case::at_the_end("also OUTPUT 1 > ISTIO_OUTPUT 1", true)]
    #[case::another_place("wanted ISTIO_OUTPUT 11 `-A`", false)]
    #[case::another_chain("wanted MY_ISTIO_OUTPUT 1 `-A`", false)]
    fn a_rule_is_named_by_chain_and_place(#[case] words: &str, #[case] named: bool) {
        assert_eq!(is_named(words, "ISTIO_OUTPUT 1"), named);
    }
}
