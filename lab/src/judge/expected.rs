//! Whether a run came out as its lab file says: everything holds, or exactly the flows a variant names are refuted.

use super::{Finding, FlowVerdict, Judgement, Verdict};
use crate::topology::Variant;

/// What came out otherwise, in words; empty when everything is as expected. Without a variant everything must hold.
pub fn unexpected(variant: Option<&Variant>, judgement: &Judgement) -> Vec<String> {
    let flows = judgement.flows.iter();
    let surprises = flows.filter(|flow| flow.verdict != wanted(variant, &flow.flow));
    let mut words: Vec<String> = surprises
        .map(|flow| surprise(variant, judgement, flow))
        .collect();
    words.extend(unexpected_of_run(variant, judgement));
    words
}

/// What the verdict on a flow is to be.
pub fn wanted(variant: Option<&Variant>, flow: &str) -> Verdict {
    let refuted = variant.filter(|it| !it.holds);
    match refuted.is_some_and(|it| it.flows.iter().any(|name| name == flow)) {
        true => Verdict::Refuted,
        false => Verdict::Holds,
    }
}

fn surprise(variant: Option<&Variant>, judgement: &Judgement, flow: &FlowVerdict) -> String {
    let (name, verdict) = (judgement.name_of(flow), flow.verdict);
    match variant.filter(|it| !it.holds) {
        None => format!("flow {name}: {verdict}"),
        Some(_) => {
            let meant = wanted(variant, &flow.flow);
            format!("flow {name}: {verdict}, and {meant} was expected")
        }
    }
}

/// The part of [`unexpected`] that is about no flow of its own.
pub fn unexpected_of_run(variant: Option<&Variant>, judgement: &Judgement) -> Vec<String> {
    let Some(variant) = variant.filter(|it| !it.holds) else {
        let flows_hold = judgement
            .flows
            .iter()
            .all(|it| it.verdict == Verdict::Holds);
        return match flows_hold && judgement.verdict != Verdict::Holds {
            true => vec![format!("the run: {}", judgement.verdict)],
            false => Vec::new(),
        };
    };
    let sent = |it: &&FlowVerdict| wanted(Some(variant), &it.flow) == Verdict::Refuted;
    // Where none of the flows it is about was sent, no flow can name it.
    let is_about_sent = judgement.flows.iter().any(|it| sent(&it));
    let Some(rule) = variant.rule.as_ref().filter(|_| is_about_sent) else {
        return Vec::new();
    };
    let flows = judgement.flows.iter();
    let mut refuted = flows.filter(|it| it.verdict == Verdict::Refuted);
    match refuted.any(|flow| names(flow, rule)) {
        true => Vec::new(),
        false => vec![format!("no refuted flow names the rule {rule}")],
    }
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
