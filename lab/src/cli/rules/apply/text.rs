//! What came of `hoplab rules apply`, for people.

use std::fmt::Write as _;

use crate::apply::{Calls, HalfDone, Report, Round, Step};

pub(super) fn text(report: &Report, verbose: bool) -> String {
    let mut out = format!(
        "backend {} ({})\n",
        report.backend.backend.as_backend(),
        report.backend.why
    );
    for round in &report.rounds {
        let _ = writeln!(out, "\n{}", round.what);
        if let Some(chosen) = &round.detected {
            let _ = writeln!(out, "  detected: {}, since {}", chosen.backend, chosen.why);
        }
        found(&mut out, round);
        for step in &round.steps {
            let _ = writeln!(
                out,
                "  {}\n      {}, {}",
                step.command,
                step.status,
                changed(step)
            );
            for line in step.stderr.lines() {
                let _ = writeln!(out, "      {line}");
            }
            for change in step.changes.iter().filter(|_| verbose) {
                let _ = writeln!(out, "        {change}");
            }
        }
        if round.steps.is_empty() {
            out.push_str("  no command that changes anything\n");
        }
        let _ = writeln!(out, "  {} rules in the pod", round.rules);
        if let Some(it) = &round.half_done {
            half_done(&mut out, it);
        }
        if let Some(rules) = round.mark_rules {
            let _ = writeln!(out, "  {rules} policy rules for a mark");
        }
        if let Some(calls) = &round.calls {
            let _ = writeln!(out, "  calls meanwhile: {}", called(calls));
        }
    }
    for held in &report.held {
        let _ = writeln!(
            out,
            "\n{} holds {} rules; its nat PREROUTING counted {} connections",
            held.backend, held.rules, held.came_in
        );
    }
    out
}

/// What istio-init leaves behind where it fails; the pod is left so too, since that is what a person is to see.
fn half_done(out: &mut String, it: &HalfDone) {
    let HalfDone {
        before,
        now,
        planned,
        kept,
        cleaned_up,
    } = it;
    let _ = writeln!(
        out,
        "  half done: {now} rules, neither the {before} there were nor the {planned} planned ones; istio-init undoes nothing either"
    );
    if kept.is_empty() || !cleaned_up {
        return;
    }
    for rule in kept {
        let _ = writeln!(out, "      {rule}");
    }
    out.push_str(
        "      is not planned, so Istio's clean-up leaves it, as it does in a real pod. Its chain is in use and can't be\n      \
         deleted, a restore makes no chain that is there, and every retry fails alike. Delete it by hand (-D), or start\n      \
         the pod anew.\n",
    );
}

fn called(calls: &Calls) -> String {
    format!(
        "{} taken by the proxy, {} by the app itself, {} refused, {} lost",
        calls.proxied, calls.direct, calls.refused, calls.lost
    )
}

fn found(out: &mut String, round: &Round) {
    let Some(state) = &round.found else { return };
    let there = match state.residue {
        true => "chains of Istio's are there",
        false => "no chain of Istio's is there",
    };
    let _ = match state.delta.first() {
        None => writeln!(out, "  found: {there}, nothing is missing"),
        Some(first) => writeln!(out, "  found: {there}; {first}"),
    };
}

fn changed(step: &Step) -> String {
    let count = |sign: &str| {
        let with = |it: &&String| it.contains(&format!(": {sign} "));
        step.changes.iter().filter(with).count()
    };
    match (count("+"), count("-")) {
        (0, 0) => "nothing changed".into(),
        (added, removed) => format!("rules and chains: {added} added, {removed} removed"),
    }
}
