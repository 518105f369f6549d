//! From evidence and judgement to the outcome of a case.

use super::{
    CaseName, CaseOutcome, FlowOutcome,
    trouble::{Ways, trouble},
};
use crate::{
    evidence::{Evidence, Window},
    failure::Failure,
    judge::{self, FlowVerdict, Judgement, steps::stretches},
    lab_file::LabFile,
    path,
    report::{Detail, path_text},
    topology::Variant,
};

/// What is told of flows that came out as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detailed {
    /// Their verdict.
    Verdict,
    /// Their hops, too.
    Hops,
}

/// The outcome of a case that was judged. `file` is the lab as it ran, `left` what it left behind, in words.
///
/// # Errors
/// The evidence holds rules that can't be read.
pub fn of_judgement(
    case: CaseName,
    (file, variant): (&LabFile, Option<&Variant>),
    evidence: &Evidence,
    judgement: &Judgement,
    left: &[String],
    (detailed, took_us): (Detailed, u64),
) -> Result<CaseOutcome, Failure> {
    let mut unexpected = judge::unexpected(variant, judgement);
    let mut of_run = judge::unexpected_of_run(variant, judgement);
    let left = || left.iter().map(|it| format!("left over: {it}"));
    unexpected.extend(left());
    of_run.extend(left());
    let is_needed = |verdict: &FlowVerdict| {
        detailed == Detailed::Hops || verdict.verdict != judge::wanted(variant, &verdict.flow)
    };
    let mut verdicts = judgement.flows.iter();
    let mut flows = Vec::new();
    let parts = match judgement.flows.iter().any(is_needed) {
        true => stretches(file, evidence)?,
        false => Vec::new(),
    };
    for (now, part) in &parts {
        for (window, verdict) in part.windows.iter().zip(verdicts.by_ref()) {
            let mut outcome = of_verdict(file, verdict, variant);
            if let Some(outcome) = outcome.as_mut().filter(|_| is_needed(verdict)) {
                add_way(outcome, (now, part), window, verdict)?;
            }
            flows.extend(outcome);
        }
    }
    flows.extend(verdicts.filter_map(|it| of_verdict(file, it, variant)));
    Ok(CaseOutcome {
        case,
        verdict: Some(judgement.verdict),
        flows,
        unexpected,
        of_run,
        broke: None,
        took_us,
    })
}

fn of_verdict(
    file: &LabFile,
    verdict: &FlowVerdict,
    variant: Option<&Variant>,
) -> Option<FlowOutcome> {
    // The judge refuses evidence of flows that the lab does not have.
    let flow = file.topology.flow(&verdict.flow)?;
    let wanted = judge::wanted(variant, &flow.name);
    Some(FlowOutcome {
        verdict: Some(verdict.verdict),
        took_us: verdict.took_us,
        ..FlowOutcome::unjudged(file, flow, wanted)
    })
}

/// The hops of a flow, and what is wrong with them if it did not come out as expected.
fn add_way(
    outcome: &mut FlowOutcome,
    (now, part): (&LabFile, &Evidence),
    window: &Window,
    verdict: &FlowVerdict,
) -> Result<(), Failure> {
    let flow = now.topology.flow(&window.flow);
    // What goes on over a connection that was held is judged by its bytes: it has no first packet.
    let flow = flow.filter(|it| it.connection.resume.is_none());
    let Some(flow) = flow else {
        if !outcome.is_as_expected() {
            outcome.trouble = Some(trouble(verdict, outcome.wanted, None));
        }
        return Ok(());
    };
    let seen = path::of_window(now, part, window, flow)?;
    if !outcome.is_as_expected() {
        let meant = path::meant(now, part, window, flow)?;
        let (held, others) = judge::held_rules(part, window.family)?;
        let ways = Ways {
            meant: &meant,
            seen: &seen.legs,
            held: &held,
            others: &others,
        };
        outcome.trouble = Some(trouble(verdict, outcome.wanted, Some(&ways)));
    }
    let text = path_text(&seen, Detail::Quiet);
    outcome.hops = Some(anstream::adapter::strip_str(&text).to_string());
    Ok(())
}
