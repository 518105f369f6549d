//! The notes' counter table: which rows are zero and which are not, beside those of one pod after the run.

use serde::Serialize;

use crate::{
    evidence::Evidence,
    judge::{Case, Check, Claim, Verdict, Witness},
    predict::Moves,
    rules::{RuleId, Table as RuleTable, spec_text},
};

/// Packets of the notes' `iptables -t nat -L -v`, a production pod after two days; rows as listed there.
const NOTES: &[(&str, u32, &str)] = &[
    ("PREROUTING", 1, "85873"),
    ("OUTPUT", 1, "138K"),
    ("ISTIO_INBOUND", 1, "0"),
    ("ISTIO_INBOUND", 2, "0"),
    ("ISTIO_INBOUND", 3, "85820"),
    ("ISTIO_INBOUND", 4, "1"),
    ("ISTIO_INBOUND", 5, "52"),
    ("ISTIO_IN_REDIRECT", 1, "52"),
    ("ISTIO_OUTPUT", 1, "61"),
    ("ISTIO_OUTPUT", 2, "0"),
    ("ISTIO_OUTPUT", 3, "22906"),
    ("ISTIO_OUTPUT", 4, "57374"),
    ("ISTIO_OUTPUT", 5, "0"),
    ("ISTIO_OUTPUT", 6, "0"),
    ("ISTIO_OUTPUT", 7, "0"),
    ("ISTIO_OUTPUT", 8, "0"),
    ("ISTIO_OUTPUT", 9, "57202"),
    ("ISTIO_REDIRECT", 1, "57202"),
];

/// The two tables side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Pod whose counters are shown.
    pub pod: String,
    /// Rows in the notes' order.
    pub rows: Vec<TableRow>,
    /// The claim that the same rows are zero.
    pub claim: Claim,
    /// Its verdict.
    pub verdict: Verdict,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// The rule.
    pub rule: RuleId,
    /// Its text.
    pub text: String,
    /// Packets in the notes, as printed there.
    pub notes: &'static str,
    /// Packets in the pod; none where they could not be read.
    pub packets: Option<u64>,
}

pub(super) fn judge(case: &Case, pod: &str, evidence: &Evidence, model: &Moves) -> Table {
    let counters = Witness::Counters {
        pod: pod.to_string(),
    };
    let last = evidence
        .totals
        .get(pod)
        .and_then(|t| t.iter().find(|c| c.family == case.family));
    let mut checks = Vec::new();
    let mut rows = Vec::new();
    for (chain, place, notes) in NOTES {
        let rule = RuleId::new(case.family, RuleTable::Nat, *chain, *place);
        let applied = case.rules_of(pod).alignment.applied(&rule);
        let packets = last.map(|last| {
            // A rule that is not in the pod counts nothing.
            let counter = applied.and_then(|r| last.rules.get(r));
            counter.map_or(0, |c| c.packets)
        });
        let moves = *notes != "0";
        let words = |moves: bool| if moves { "not zero" } else { "zero" };
        match packets {
            None => checks.push(Check::missing(
                counters.clone(),
                format!("the row of {}", rule.short()),
            )),
            Some(packets) if (packets > 0) != moves => checks.push(Check::contradicts(
                counters.clone(),
                format!("{} {}", rule.short(), words(moves)),
                packets.to_string(),
            )),
            Some(_) => {}
        }
        let predicted = applied.map_or(0, |r| model.of(r).least);
        if (predicted > 0) != moves {
            let wanted = format!("{} {}", rule.short(), words(moves));
            checks.push(Check::contradicts(
                Witness::Model,
                wanted,
                predicted.to_string(),
            ));
        }
        let text = case
            .rules_of(pod)
            .reference
            .rule(&rule)
            .map(|r| spec_text(chain, &r.spec))
            .unwrap_or_default();
        rows.push(TableRow {
            rule,
            text,
            notes,
            packets,
        });
    }
    if checks.is_empty() {
        checks.push(Check::agrees(counters));
        checks.push(Check::agrees(Witness::Model));
    }
    let claim = Claim::new(
        format!("{pod} has the zero and non-zero rows of the notes' table"),
        checks,
    );
    Table {
        pod: pod.to_string(),
        rows,
        verdict: claim.verdict(),
        claim,
    }
}
