//! Does it: one pod namespace in a sandbox, the real iptables, and what changed after each command.

use std::collections::BTreeMap;

use super::{
    ApplyPlan, HeldBy, Manner, Report, Round, Step,
    calls::Callers,
    detect::detect,
    half_done::half_done,
    native,
    pod::Pod,
    tally::{Tally, watched},
};
use crate::{
    failure::{Class, Failure},
    istio::routes,
    net::{Namespace, Netlink},
    netfilter::{self, Backend, Chosen, Holder},
    plan::Files,
    rules::{self, Family, OwnerNames, RuleSet, Table, Written},
    sandbox::prepare_mounts,
};

/// Name of the pod.
pub(super) const POD: &str = "pod";

/// Runs in the supervisor of a sandbox that has no lab.
pub(crate) fn run_inside(plan: ApplyPlan) -> Result<Report, Failure> {
    prepare_mounts(&Files::naming(&plan.names))?;
    let namespace = Namespace::create(POD)?;
    let callers = match &plan.calls {
        Some(it) => Some(Callers::start(&namespace, &it.stage, it.app, it.proxy)?),
        None => None,
    };
    let tally = callers.as_ref().map(Callers::tally);
    let (backend, rounds) = if let Manner::Native { cleanup_only } = plan.manner {
        netfilter::find_program("nft")?;
        let backend = Chosen {
            backend: Holder::Nft,
            why: "the rules are nft's own".into(),
        };
        let job = namespace.job(move |_| {
            let rounds = native::rounds(&plan, cleanup_only, POD, tally.as_ref());
            rounds.map(|rounds| (rounds, Vec::new()))
        });
        (backend, job.wait()?)
    } else {
        let backend = plan.backend.settle()?;
        let tool = backend.backend;
        let job = namespace.job(move |inside| {
            let rounds = rounds(tool, &plan, tally.as_ref(), &inside.netlink)?;
            let held = match plan.detect {
                true => held()?,
                false => Vec::new(),
            };
            Ok((rounds, held))
        });
        (backend.into(), job.wait()?)
    };
    let ended = callers.map_or(Ok(()), Callers::end);
    namespace.remove()?;
    let (rounds, held) = rounds?;
    ended?;
    Ok(Report {
        backend,
        rounds,
        held,
    })
}

/// What each backend holds. Each tool shows its own only, and both have their tables by now.
fn held() -> Result<Vec<HeldBy>, Failure> {
    let of = |backend| {
        let set = netfilter::save(backend, Family::V4, POD)?;
        let first = |id: &rules::RuleId| id.chain == "PREROUTING";
        let mut came_in = set.rules(Table::Nat).filter(|(id, _)| first(id));
        let came_in = came_in.try_fold(0, |sum: u64, (_, rule)| {
            Some(sum.saturating_add(rule.counters?.packets))
        });
        Ok(HeldBy {
            backend,
            rules: set.len(),
            came_in: came_in.unwrap_or(0),
        })
    };
    Backend::ALL.into_iter().map(of).collect()
}

/// Runs on the thread of the pod.
fn rounds(
    backend: Backend,
    plan: &ApplyPlan,
    tally: Option<&Tally>,
    netlink: &Netlink,
) -> Result<Vec<Round>, Failure> {
    let mut pod = Pod {
        backend,
        rules: BTreeMap::new(),
    };
    let mut rounds = Vec::new();
    if !plan.before.is_empty() {
        let (steps, calls) = watched(tally, || pod.restore_all(&plan.before))?;
        let what = "the rules that are there before".to_owned();
        rounds.push(Round {
            calls,
            ..pod.round(what, None, steps)
        });
    }
    let meant = parsed(&plan.meant, &plan.names)?;
    for time in 1..=plan.times {
        let detected = match plan.detect {
            true => Some(detect(POD)?),
            false => None,
        };
        if let Some(chosen) = &detected {
            pod.backend = chosen.backend;
            pod.look()?;
        }
        let before = pod.rules.clone();
        let ((found, mut steps), calls) = watched(tally, || pod.apply(plan, &meant))?;
        if steps.iter().all(|step| step.ok || step.tried) {
            steps.extend(plan.routes.iter().map(|route| beside_rules(netlink, route)));
        }
        let half_done = half_done(&before, &pod.rules, &meant, &steps);
        let mark_rules = match plan.routes.is_empty() {
            true => None,
            false => Some(netlink.mark_rules()?),
        };
        let what = format!("apply {time} of {}", plan.times);
        rounds.push(Round {
            detected,
            calls,
            half_done,
            mark_rules,
            ..pod.round(what, found, steps)
        });
    }
    Ok(rounds)
}

/// Istio goes on where the kernel says that it is there already.
fn beside_rules(netlink: &Netlink, route: &routes::Step) -> Step {
    let added = netlink.add_beside_rules(route);
    Step {
        command: route.to_string(),
        status: match &added {
            Ok(()) => "added".to_owned(),
            Err(_) => "refused".to_owned(),
        },
        ok: added.is_ok(),
        tried: true,
        stderr: added.map_or_else(|error| with_causes(&error), |()| String::new()),
        changes: Vec::new(),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    let words = std::iter::once(error)
        .chain(causes)
        .map(ToString::to_string);
    words.collect::<Vec<_>>().join(": ")
}

fn parsed(texts: &Written, names: &OwnerNames) -> Result<BTreeMap<Family, RuleSet>, Failure> {
    let mut sets = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let set = texts.rules(family, "the rules");
        let set = set.map_err(|e| Failure::new(Class::Input, e.to_string()))?;
        sets.extend(set.map(|set| (family, names.resolve(&set))));
    }
    Ok(sets)
}
