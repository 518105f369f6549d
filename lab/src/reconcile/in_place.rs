//! What can be changed where it is: rules and processes of a pod, addresses and processes of the node, files.

use hoplab_proxies::{record::Role, wire::Part};

use super::{Change, NODE, Observed, RulesDiffer, sets};
use crate::{
    failure::Failure,
    plan::{Files, Plan, PodPlan, ProcessPlan, RuleTexts},
    rules::{self, RuleSet},
};

pub(super) fn files(now: &Files, wanted: &Files) -> Option<Change> {
    let differ = [
        ("hosts", now.hosts != wanted.hosts),
        ("resolv.conf", now.resolv_conf != wanted.resolv_conf),
        ("passwd", now.passwd != wanted.passwd),
        ("group", now.group != wanted.group),
    ];
    let files = differ.into_iter().filter(|(_, differs)| *differs);
    let files: Vec<String> = files.map(|(name, _)| name.to_owned()).collect();
    (!files.is_empty()).then_some(Change::Files { files })
}

pub(super) fn node(now: &Plan, wanted: &Plan, observed: &Observed) -> Vec<Change> {
    let (was, is) = (&now.node, &wanted.node);
    let mut changes = Vec::new();
    if was.loopback != is.loopback {
        changes.push(Change::Addresses {
            pod: NODE.to_owned(),
            addresses: is.loopback.iter().map(|(ip, _)| ip.to_string()).collect(),
        });
    }
    changes.extend(processes(NODE, &was.processes, &is.processes, observed));
    changes
}

pub(super) fn pod(
    (now, was): (&Plan, &PodPlan),
    (wanted, pod): (&Plan, &PodPlan),
    observed: &Observed,
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    if let (Some(before), Some(after)) = (now.rules_of(was), wanted.rules_of(pod)) {
        changes.extend(rules_in(&pod.name, before, after, observed)?);
    }
    let processes = processes(&pod.name, &was.processes, &pod.processes, observed);
    changes.extend(processes);
    Ok(changes)
}

/// Texts that stayed the same are held against what the kernel made of them then, others against what they say.
fn rules_in(
    pod: &str,
    before: &RuleTexts,
    after: &RuleTexts,
    observed: &Observed,
) -> Result<Option<Change>, Failure> {
    let Some(seen) = observed.rules.get(pod) else {
        return Ok(None);
    };
    let held = sets(&seen.held, &format!("the rules in {pod}"))?;
    let same = (&before.written, &before.names) == (&after.written, &after.names);
    let (cause, rules) = match (&seen.applied, same) {
        (Some(applied), true) => {
            let applied = sets(applied, &format!("the rules of {pod}"))?;
            (RulesDiffer::ByHand, rules::changes(&held, &applied))
        }
        (_, same) => {
            let wanted = sets(&after.written, "the rules of the file")?;
            let wanted: Vec<RuleSet> = wanted.iter().map(|it| after.names.resolve(it)).collect();
            let cause = match same {
                true => RulesDiffer::ByHand,
                false => RulesDiffer::File,
            };
            (cause, rules::changes_to_written(&held, &wanted))
        }
    };
    Ok((!rules.is_empty()).then(|| Change::Rules {
        pod: pod.to_owned(),
        cause,
        rules,
    }))
}

fn processes(
    pod: &str,
    was: &[ProcessPlan],
    wanted: &[ProcessPlan],
    observed: &Observed,
) -> Vec<Change> {
    let of = |all: &[ProcessPlan], role: Role| all.iter().find(|it| it.role() == role).cloned();
    let ended = |role: Role| observed.ended.get(&(pod.to_owned(), role));
    let mut changes = Vec::new();
    let gone = was.iter().map(ProcessPlan::role);
    for process in gone.filter(|it| of(wanted, *it).is_none() && ended(*it).is_none()) {
        changes.push(Change::End {
            pod: pod.to_owned(),
            process,
        });
    }
    for plan in wanted {
        let process = plan.role();
        let start = |why: &str| Change::Start {
            pod: pod.to_owned(),
            process,
            why: why.to_owned(),
        };
        match (of(was, process), ended(process)) {
            (None, _) => changes.push(start("the file has it now")),
            (Some(_), Some(why)) => changes.push(start(why)),
            (Some(was), None) if only_routes_differ(&was, plan) => changes.push(Change::Routes {
                pod: pod.to_owned(),
                process,
            }),
            (Some(was), None) if was != *plan => changes.push(Change::Restart {
                pod: pod.to_owned(),
                process,
                why: what_differs(&was, plan),
            }),
            (Some(_), None) => {}
        }
    }
    changes
}

fn what_differs(was: &ProcessPlan, wanted: &ProcessPlan) -> String {
    let owner = |it: &ProcessPlan| (it.uid, it.gid);
    if owner(was) != owner(wanted) {
        let ((before, of_before), (uid, gid)) = (owner(was), owner(wanted));
        return format!("it runs as {uid}:{gid} now, it was {before}:{of_before}");
    }
    let what = match (&was.config.part, &wanted.config.part) {
        (Part::App(was), Part::App(is)) if was.ports != is.ports => "its ports are others",
        (Part::App(was), Part::App(is)) if was.calls != is.calls => "it calls other services",
        (Part::App(was), Part::App(is)) if was.service != is.service => {
            "it belongs to another service"
        }
        (Part::Proxy(was), Part::Proxy(is)) if was.sidecar != is.sidecar => {
            "its interception is another one"
        }
        (Part::Dns(_), Part::Dns(_)) => "the names it knows are others",
        _ => "its settings are others",
    };
    what.to_owned()
}

/// True of a proxy that can be told what differs while it runs.
fn only_routes_differ(was: &ProcessPlan, wanted: &ProcessPlan) -> bool {
    let bare = |it: &ProcessPlan| {
        let mut bare = it.clone();
        if let Part::Proxy(proxy) = &mut bare.config.part {
            proxy.services.clear();
        }
        bare
    };
    was != wanted && bare(was) == bare(wanted)
}
