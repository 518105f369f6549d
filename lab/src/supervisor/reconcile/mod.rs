//! Makes a running lab another one, change by change. What stands is written down after each, so that one that fails leaves
//! a lab of which everything is known.

mod pods;
mod processes;
mod work;

use std::sync::mpsc::Receiver;

use hoplab_proxies::record::Role;

use super::{Event, live::Live, phase, up};
use crate::{
    evidence::{Machine, Up},
    failure::Failure,
    netfilter::RuleTool,
    plan::NODE,
    reconcile::{self, Observed, RulesSeen},
    rules::Holder,
    sandbox::protocol::{Reconcile, Reconciled},
};
use work::Work;

/// Makes the lab what a plan says. `came_up` is what stands, and follows.
///
/// # Errors
/// Nothing was changed: the lab can't be made that, or what it is can't be read.
pub(super) fn reconcile(
    live: &mut Live,
    order: Reconcile,
    came_up: &mut (Machine, Up),
    queue: &Receiver<Event>,
) -> Result<Reconciled, Failure> {
    phase("reconcile");
    let wanted = order.plan.with_rules_at_pods();
    let (tool, machine) = up::settle(&wanted)?;
    let now = live.as_it_stands(&came_up.1)?;
    let observed = observe(live, &now, holder(live.tool), holder(tool));
    let changes = reconcile::reconcile(&live.plan, &wanted, &observed)?;
    let mut done = Vec::new();
    let mut left = changes;
    let mut failure = None;
    if !order.dry_run {
        live.forgive_all();
        let mut work = Work {
            live,
            wanted: &wanted,
            tool,
            up: now,
            queue,
        };
        failure = work.all(&mut left, &mut done).err();
        work.tell_what_is_gone(&mut left, &mut done);
        came_up.1 = work.up;
        if holder(live.tool) == machine.backend.backend {
            came_up.0 = machine;
        }
        live.settle(queue)?;
        came_up.1 = live.as_it_stands(&came_up.1)?;
        live.name_processes(&mut came_up.1);
    }
    Ok(Reconciled {
        done,
        left,
        failure,
        machine: came_up.0.clone(),
        up: came_up.1.clone(),
    })
}

fn holder(tool: RuleTool) -> Holder {
    match tool {
        RuleTool::Iptables(backend) => backend.into(),
        RuleTool::Nft => Holder::Nft,
    }
}

/// What runs, and which rules the kernel holds.
fn observe(live: &Live, up: &Up, holder: Holder, wanted_holder: Holder) -> Observed {
    let rules = up.pods.iter().filter_map(|pod| {
        let there = live.pods.get(&pod.name).filter(|it| it.intercepted)?;
        let seen = RulesSeen {
            held: pod.rules.clone(),
            applied: there.applied.clone(),
        };
        Some((pod.name.clone(), seen))
    });
    let pods = live.plan.pods.iter();
    let planned = pods
        .flat_map(|pod| pod.processes.iter().map(|it| (pod.name.clone(), it.role())))
        .chain(
            live.plan
                .node
                .processes
                .iter()
                .map(|it| (NODE.to_owned(), it.role())),
        );
    let ended = planned.filter_map(|(pod, role)| {
        let why = why_ended(live, &pod, role)?;
        Some(((pod, role), why))
    });
    Observed {
        holder,
        wanted_holder,
        rules: rules.collect(),
        ended: ended.collect(),
    }
}

/// None of a process that runs.
fn why_ended(live: &Live, pod: &str, role: Role) -> Option<String> {
    let Some(stub) = live.stub_of(pod, role) else {
        return Some("was stopped".to_owned());
    };
    let stub = &live.stubs[stub];
    match &stub.exit {
        Some(exit) => Some(format!("had ended: {}", exit.0)),
        None => stub.has_died().then(|| "had ended".to_owned()),
    }
}
