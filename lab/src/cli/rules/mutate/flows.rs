//! Flows as the suite of `rules mutate`: those of a snapshot, or those derived from the rules.

use std::{collections::BTreeSet, path::Path};

use super::{
    super::tried::{self, Tried},
    Args, Ended, Validated,
    progress::Progress,
};
use crate::{
    behaviour::{
        self, Expected, Fate, Flow, Judged, Mutant, Ran, Stage, Validation, choose, completed,
        judge, landings,
    },
    cli::interrupt::Interrupt,
    failure::{Class, Failure},
    probe::{Pool, ProbePlan},
    rules::{OwnerNames, RuleSet, Written},
};

/// The flows that run, and what the model expects of each mutant.
struct Suite {
    stage: Stage,
    flows: Vec<Flow>,
    /// Of these, how many are there for mutants that no other would notice.
    added: usize,
    landings: BTreeSet<u16>,
    expected: Vec<Expected>,
}

/// What flows say of mutants.
#[derive(Default)]
pub(super) struct ByFlows {
    /// Flows that ran under each.
    pub suite: usize,
    /// Of these, how many are there for mutants that no other would notice.
    pub added: usize,
    /// In the order of the mutants; none for those there was no time for.
    pub judged: Vec<Option<Judged>>,
}

/// Plays flows under the rules and under every mutant.
///
/// # Errors
/// What the rules themselves do is not sure, or a kernel lost a report.
pub(super) fn judged(
    args: &Args,
    (tried, names): (&[Tried], &OwnerNames),
    snapshot: Option<&Path>,
    all: &[Mutant],
    progress: &Progress,
) -> Result<Ended<ByFlows>, Failure> {
    let suite = suite(args, tried, snapshot, all)?;
    let [one] = tried else {
        unreachable!("one source was read");
    };
    let validation = args.validation.map(|Validated::Istio| Validation::Istio);
    // The call of the validation goes last, and kills nothing.
    let mut flows = suite.flows.clone();
    flows.extend(validation.map(Validation::flow));
    let whole = one.plan(
        args.probe.backend,
        names,
        suite.stage,
        &flows,
        &suite.landings,
    );
    let plans: Vec<ProbePlan> = all.iter().map(|it| mutated(&whole, one, it)).collect();
    let pool = Pool::for_work(plans.len())?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let report = pool.play(vec![whole], |_, _| {}).remove(0);
    if let Some(code) = interrupt.exit_code() {
        return Ok(Ended::Interrupted(code));
    }
    let whole = tried::ran(&one.subject, &suite.stage, &flows, report?)?;
    trusted(one, &flows, &whole, validation)?;
    let total = all.len();
    let reports = pool.play_while(plans, || progress.is_in_time(), |_, _| progress.one(total));
    if let Some(code) = interrupt.exit_code() {
        return Ok(Ended::Interrupted(code));
    }
    let mut judged = Vec::new();
    for ((mutant, expected), report) in all.iter().zip(&suite.expected).zip(reports) {
        let one = match report {
            None => None,
            Some(Err(failure)) if failure.class == Class::Input => Some(refused(mutant, &failure)),
            Some(report) => {
                let broken = one
                    .subject
                    .with_rules(mutant.to_string(), mutant.sets.clone());
                let ran = tried::ran(&broken, &suite.stage, &flows, report?)?;
                let own = suite.flows.len();
                let noticed = validation.map(|it| !is_content(it, &ran));
                Some(Judged {
                    probe_noticed: noticed,
                    ..judge(mutant, expected, &suite.flows, (&whole[..own], &ran[..own]))
                })
            }
        };
        judged.push(one);
    }
    Ok(Ended::Done(ByFlows {
        suite: suite.flows.len(),
        added: suite.added,
        judged,
    }))
}

/// The flows of a snapshot as they are, or those of the rules with what they lack.
fn suite(
    args: &Args,
    tried: &[Tried],
    snapshot: Option<&Path>,
    all: &[Mutant],
) -> Result<Suite, Failure> {
    let [one] = tried else {
        unreachable!("one source was read");
    };
    let stage = tried::stage(tried, &args.probe.address);
    let choice =
        choose(&[&one.subject], &stage, args.probe.sampling()).ok_or_else(tried::too_much)?;
    let given = snapshot.map(tried::snapshot).transpose()?;
    let (stage, base) = match &given {
        Some(it) => (
            it.stage,
            it.entries.iter().map(|it| it.flow.clone()).collect(),
        ),
        None => (stage, choice.flows),
    };
    let mut expected = side_by_side(all, |it| {
        behaviour::expected(&one.subject, it, &stage, &base)
    });
    let mut flows = base.clone();
    if given.is_none() {
        flows = completed(&base, &expected);
        let noticed = expected
            .iter_mut()
            .filter(|it| matches!(it, Expected::ToldBy(_)));
        noticed.for_each(|it| *it = Expected::Noticed);
    }
    Ok(Suite {
        stage,
        added: flows.len() - base.len(),
        flows,
        landings: choice.landings,
        expected,
    })
}

/// What the rules themselves do has to be sure, and a validation has to be content with them.
fn trusted(
    one: &Tried,
    flows: &[Flow],
    whole: &[Ran],
    validation: Option<Validation>,
) -> Result<(), Failure> {
    if tried::say_disagreements(&tried::disagreements(&one.subject, flows, whole)) {
        let what = "what the rules themselves do is not sure";
        return Err(Failure::new(Class::Incomplete, what));
    }
    match validation.is_none_or(|it| is_content(it, whole)) {
        true => Ok(()),
        false => {
            let what = "Istio's validation fails with the whole rule set already";
            Err(Failure::new(Class::Input, what))
        }
    }
}

fn is_content(validation: Validation, ran: &[Ran]) -> bool {
    ran.last()
        .is_some_and(|last| validation.passes(&last.seen.end))
}

/// Maps all, half of them on each processor where there are two.
fn side_by_side<T: Sync, U: Send>(all: &[T], of: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let each = all.len().div_ceil(processors).max(1);
    let of = &of;
    std::thread::scope(|scope| {
        let parts: Vec<_> = all
            .chunks(each)
            .map(|part| scope.spawn(move || part.iter().map(of).collect::<Vec<U>>()))
            .collect();
        let joined = parts.into_iter().map(|it| {
            it.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    })
}

fn refused(mutant: &Mutant, failure: &Failure) -> Judged {
    Judged {
        mutant: mutant.to_string(),
        fate: Fate::Refused {
            words: failure.what.clone(),
        },
        probe_noticed: None,
        disagreements: Vec::new(),
    }
}

/// The same plan with other rules, and a socket wherever they turn to.
fn mutated(plan: &ProbePlan, one: &Tried, mutant: &Mutant) -> ProbePlan {
    let broken = one
        .subject
        .with_rules("a mutant", mutant.sets.iter().cloned());
    let sets: Vec<RuleSet> = broken.sets().cloned().collect();
    let rules = match &mutant.nft {
        Some(text) => Written::Nft { nft: text.clone() },
        None => Written::Iptables(tried::texts(&sets)),
    };
    let mut ports = plan.landings.clone();
    ports.extend(landings(&broken));
    ProbePlan {
        rules,
        landings: ports,
        ..plan.clone()
    }
}
