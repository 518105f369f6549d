//! Whether a lab notices the rules in its pods: played flow by flow, until the first that is not as the file says.

use hoplab_proxies::record::{CloseOutcome, Event, Record};

use super::Stop;
use crate::{
    Families, Lab, LabFile, Options,
    behaviour::NoticedByLab,
    failure::{Class, Failure},
    judge::{self, Check, Claim, FlowVerdict, Verdict},
    netfilter::BackendChoice,
    rules::Family,
    sandbox::Supervisor,
};

/// The first flow that does not hold; none where all hold, and the run. The lab is down then, and nothing is left of it:
/// what its rules make a proxy do, the loop guard and the deadline of a flow end.
///
/// # Errors
/// The lab does not come up, something of it breaks, it leaves something behind, or it is told to stop.
pub(crate) fn first_noticed(
    path: &str,
    file: &LabFile,
    (backend, family): (BackendChoice, Family),
    stop: &Stop,
) -> Result<Option<NoticedByLab>, Failure> {
    let options = Options {
        backend,
        families: Families::One(family),
        ..Options::default()
    };
    let supervisor = Supervisor::start()?;
    let _watched = stop.watch(&supervisor)?;
    let mut lab = Lab::up_in(supervisor, file.clone(), options)?;
    let mut noticed = None;
    lab.play_while(|lab| {
        noticed = look(path, file, family, lab)?;
        Ok(noticed.is_none())
    })?;
    let down = lab.down()?;
    match down.leftovers.first() {
        None => Ok(noticed),
        Some(left) => Err(Failure::new(Class::State, format!("left over: {left}"))),
    }
}

/// Judges all flows so far.
fn look(
    path: &str,
    file: &LabFile,
    family: Family,
    lab: &mut Lab,
) -> Result<Option<NoticedByLab>, Failure> {
    let evidence = lab.observed()?;
    let judgement = judge::judge(file, &evidence)?;
    let bad = judgement
        .flows
        .iter()
        .position(|it| it.verdict != Verdict::Holds);
    let flow = bad.map(|at| &judgement.flows[at]);
    let whole = flow.is_none() && evidence.windows.len() == file.topology.flows.len();
    if flow.is_none() && !(whole && judgement.verdict != Verdict::Holds) {
        return Ok(None);
    }
    let records = bad.and_then(|at| evidence.windows.get(at));
    let records: &[Record] = records.map_or(&[], |it| &it.records);
    let claims = flow.map_or(&judgement.run, |it| &it.claims);
    Ok(Some(NoticedByLab {
        lab: path.to_owned(),
        family,
        flow: flow.map(|it: &FlowVerdict| it.flow.clone()),
        verdict: flow.map_or(judgement.verdict, |it| it.verdict).to_string(),
        why: first_reason(claims),
        connections: records.iter().filter(|it| is_connect(it)).count(),
        loops: records.iter().filter(|it| is_loop(it)).count(),
    }))
}

/// What the worst claim's first witness says that does not agree.
fn first_reason(claims: &[Claim]) -> String {
    let agrees = |it: &&Check| matches!(it.finding, judge::Finding::Agrees);
    let worst = claims.iter().max_by_key(|it| it.verdict());
    let check = worst.and_then(|it| it.checks.iter().find(|check| !agrees(check)));
    match (worst, check) {
        (Some(claim), Some(check)) => format!("{}: {check}", claim.text),
        (Some(claim), None) => format!("{}: too few witnesses", claim.text),
        (None, _) => "no claim was made".to_owned(),
    }
}

fn is_connect(record: &Record) -> bool {
    matches!(record.event, Event::Connect { .. })
}

fn is_loop(record: &Record) -> bool {
    let Event::Close { outcome, .. } = &record.event else {
        return false;
    };
    matches!(outcome, CloseOutcome::LoopRefused(_))
}
