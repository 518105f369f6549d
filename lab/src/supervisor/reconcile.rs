//! Makes a running lab another one, change by change. What stands is written down after each, so that one that fails leaves
//! a lab of which everything is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, mpsc::Receiver},
};

use hoplab_proxies::{
    record::Role,
    wire::{Command, Part},
};

use super::{
    Event,
    build::{expect_processes, node_uplink, settle_in, uplink},
    counters::held_here,
    lasting,
    live::{Live, no_such_pod},
    phase,
    pod::{Shared, build_pod},
    replace, up,
};
use crate::{
    evidence::{Machine, Up},
    failure::{Class, Failure},
    net::Inside,
    netfilter::RuleTool,
    plan::{LinkPlan, Mac, NODE, Plan, PodPlan},
    reconcile::{self, Change, Observed, RulesSeen},
    rules::{self, Family, Holder, Written},
    sandbox::{
        protocol::{Reconcile, Reconciled},
        renew_files,
    },
};

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

/// The changes under way.
struct Work<'a> {
    live: &'a mut Live,
    wanted: &'a Plan,
    tool: RuleTool,
    /// What stands.
    up: Up,
    queue: &'a Receiver<Event>,
}

impl Work<'_> {
    /// Moves each change from `left` to `done` as it is made. What goes is first, and what needs others last.
    fn all(&mut self, left: &mut Vec<Change>, done: &mut Vec<Change>) -> Result<(), Failure> {
        self.remove_pods(left, done)?;
        self.live.tool = self.tool;
        self.live.families = up::families(self.wanted);
        self.neighbours()?;
        self.live.plan.rules = self.wanted.rules.clone();
        let adds: fn(&Change) -> bool =
            |it| matches!(it, Change::AddPod { .. } | Change::ReplacePod { .. });
        let node: fn(&Change) -> bool = |it| pod_of(it).is_none_or(|pod| pod == NODE);
        let rules: fn(&Change) -> bool = |it| matches!(it, Change::Rules { .. });
        for phase in [node, adds, rules, |_| true] {
            while let Some(at) = self.next(left, phase) {
                self.one(&left[at])?;
                done.push(left.remove(at));
            }
        }
        // What no change shows, the order of pods among it.
        self.live.plan = self.wanted.clone();
        let place = |name: &str| self.wanted.pods.iter().position(|it| it.name == name);
        self.up.pods.sort_by_key(|pod| place(&pod.name));
        Ok(())
    }

    /// The next change of a kind; pods that others are behind come before those.
    fn next(&self, left: &[Change], is_due: fn(&Change) -> bool) -> Option<usize> {
        let due = left.iter().enumerate().filter(|(_, it)| is_due(it));
        let is_behind = |it: &Change| {
            let pod = pod_of(it).and_then(|it| self.wanted.pod(it));
            pod.is_some_and(|it| it.link.behind.is_some())
        };
        due.min_by_key(|(at, it)| (is_behind(it), *at))
            .map(|it| it.0)
    }

    fn one(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::AddPod { pod } | Change::ReplacePod { pod, .. } => self.add_pod(pod),
            Change::RemovePod { pod } => self.remove_pod(pod),
            Change::Rules { pod, .. } => self.rules(pod),
            Change::Start { pod, process, .. } => self.start(pod, *process),
            Change::Restart { pod, process, .. } => {
                lasting::end(self.live, pod, *process, self.queue)?;
                self.start(pod, *process)
            }
            Change::Routes { pod, process } => self.routes(pod, *process),
            Change::End { pod, process } => lasting::end(self.live, pod, *process, self.queue),
            Change::Addresses { .. } => self.addresses(),
            Change::Files { .. } => {
                renew_files(&self.live.plan.files, &self.wanted.files)?;
                self.live.plan.files = self.wanted.files.clone();
                Ok(())
            }
            Change::File { .. } => Ok(()),
        }
    }

    /// Those behind others first. What is replaced is left to be added.
    fn remove_pods(
        &mut self,
        left: &mut Vec<Change>,
        done: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let goes = |it: &Change| matches!(it, Change::RemovePod { .. } | Change::ReplacePod { .. });
        let mut going: Vec<Change> = left.iter().filter(|it| goes(it)).cloned().collect();
        let plan = &self.live.plan;
        let outer: BTreeSet<String> = plan
            .pods
            .iter()
            .filter_map(|it| Some(it.link.behind.as_ref()?.pod.clone()))
            .collect();
        going.sort_by_key(|it| pod_of(it).is_some_and(|pod| outer.contains(pod)));
        for change in going {
            if let Some(pod) = pod_of(&change) {
                self.remove_pod(pod)?;
            }
            if matches!(change, Change::RemovePod { .. }) {
                left.retain(|it| *it != change);
                done.push(change);
            }
        }
        Ok(())
    }

    /// A pod that was to be replaced and was only removed.
    fn tell_what_is_gone(&self, left: &mut [Change], done: &mut Vec<Change>) {
        for change in left {
            if let Change::ReplacePod { pod, .. } = change
                && !self.live.pods.contains_key(pod)
            {
                let pod = pod.clone();
                done.push(Change::RemovePod { pod: pod.clone() });
                *change = Change::AddPod { pod };
            }
        }
    }

    fn remove_pod(&mut self, name: &str) -> Result<(), Failure> {
        lasting::end_all(self.live, name, self.queue)?;
        let link = self.live.plan.pod(name).map(|it| it.link.clone());
        if let Some(link) = link {
            let (host, outer) = (link.host_interface.clone(), link.behind.as_ref());
            let namespace = match outer.and_then(|it| self.live.pods.get(&it.pod)) {
                Some(outer) => &outer.namespace,
                None => &self.live.node,
            };
            // Else the kernel removes it some time after the namespace, and its name is taken until then.
            namespace
                .job(move |at| at.netlink.remove_link(&host))
                .wait()??;
        }
        if let Some(pod) = self.live.pods.remove(name) {
            drop((pod.trace, pod.conntrack));
            pod.namespace.remove()?;
        }
        self.live.plan.pods.retain(|it| it.name != name);
        self.up.pods.retain(|it| it.name != name);
        Ok(())
    }

    /// Who has which address, in the node and in every pod that stays.
    fn neighbours(&mut self) -> Result<(), Failure> {
        let (bridge, wanted) = (
            self.wanted.node.bridge.clone(),
            self.wanted.neighbours.clone(),
        );
        let changed = of_link(&self.live.plan.neighbours, &wanted);
        let told = self
            .live
            .node
            .job(move |at| tell(at, &bridge, &changed))
            .wait();
        told.map_err(Failure::from)??;
        self.live.plan.neighbours = wanted;
        for pod in &mut self.live.plan.pods {
            let (Some(to_be), Some(there)) =
                (self.wanted.pod(&pod.name), self.live.pods.get(&pod.name))
            else {
                continue;
            };
            let LinkPlan {
                interface,
                neighbours,
                ..
            } = &to_be.link;
            let changed = of_link(&pod.link.neighbours, neighbours);
            let link = interface.clone();
            there
                .namespace
                .job(move |at| tell(at, &link, &changed))
                .wait()??;
            pod.link.neighbours.clone_from(neighbours);
        }
        Ok(())
    }

    fn addresses(&mut self) -> Result<(), Failure> {
        let (was, is) = (
            self.live.plan.node.loopback.clone(),
            self.wanted.node.loopback.clone(),
        );
        let new: Vec<_> = is.iter().filter(|it| !was.contains(it)).copied().collect();
        let gone: Vec<_> = was.iter().filter(|it| !is.contains(it)).copied().collect();
        let job = self.live.node.job(move |at| {
            at.netlink.remove_addresses("lo", &gone)?;
            at.netlink.add_addresses("lo", &new)
        });
        job.wait()??;
        self.live.plan.node.loopback = is;
        Ok(())
    }

    fn add_pod(&mut self, name: &str) -> Result<(), Failure> {
        let plan = self.wanted.pod(name).ok_or_else(|| no_such_pod(name))?;
        let shared = Arc::new(Shared::of(self.wanted, self.tool, &self.live.sink));
        let uplink = match &plan.link.behind {
            None => node_uplink(&self.live.node)?,
            Some(relay) => {
                let outer = self.live.pods.get(&relay.pod);
                uplink(&outer.ok_or_else(|| no_such_pod(&relay.pod))?.namespace)?
            }
        };
        let first = self.live.stubs.len();
        expect_processes(self.live, plan);
        let built = build_pod(plan, first, &shared, &Arc::new(uplink));
        let built = built.inspect_err(|_| {
            // Their input is closed: they end, and nobody waits for them.
            self.live.stubs[first..]
                .iter_mut()
                .for_each(|it| it.stopped = true);
        })?;
        let up = settle_in(self.live, plan, first, built);
        self.live.plan.pods.push(plan.clone());
        self.up.pods.push(up);
        if self.live.is_kept {
            self.live.stop_observing();
        }
        up::await_bridge(self.wanted, &self.live.node, [plan].into_iter())?;
        let stubs: Vec<_> = (first..self.live.stubs.len()).collect();
        lasting::await_ready(self.live, &stubs, self.queue)
    }

    /// Whole or not at all.
    fn rules(&mut self, name: &str) -> Result<(), Failure> {
        let plan = self.wanted.pod(name).ok_or_else(|| no_such_pod(name))?;
        let texts = self
            .wanted
            .rules_of(plan)
            .ok_or_else(|| no_such_pod(name))?;
        replace::replace(self.live, name, numbered(texts)?)?;
        let (tool, families, pod) = (self.tool, self.live.families.clone(), name.to_owned());
        let place = self
            .live
            .pods
            .get_mut(name)
            .ok_or_else(|| no_such_pod(name))?;
        let read = move |_: &mut Inside| held_here(tool, &families, &pod);
        place.applied = Some(place.namespace.job(read).wait()??.rules);
        if let Some(stands) = self.planned(name) {
            stands.rules = Some(texts.clone());
        }
        Ok(())
    }

    /// The pod in the plan that stands.
    fn planned(&mut self, name: &str) -> Option<&mut PodPlan> {
        self.live.plan.pods.iter_mut().find(|it| it.name == name)
    }

    /// As the plan that is wanted has it.
    fn start(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        self.take_over(pod, role)?;
        lasting::start(self.live, pod, role, self.queue)
    }

    /// What it is told goes before whatever is asked of it next.
    fn routes(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        self.take_over(pod, role)?;
        let plan = self.live.plan_of(pod, role);
        let Some(Part::Proxy(proxy)) = plan.map(|it| &it.config.part) else {
            return Err(no_such_pod(pod));
        };
        let order = Command::Routes {
            services: proxy.services.clone(),
        };
        let stub = self.live.stub_of(pod, role);
        let input = stub.and_then(|it| self.live.stubs[it].input.as_mut());
        let told = input.map(|it| it.send(&order));
        match told {
            Some(Ok(())) => Ok(()),
            _ => Err(Failure::new(
                Class::State,
                format!("{role} of pod `{pod}` does not listen to the lab any more"),
            )),
        }
    }

    /// The process in the plan that stands is the one that is wanted.
    fn take_over(&mut self, pod: &str, role: Role) -> Result<(), Failure> {
        let wanted = match pod {
            NODE => Some(&self.wanted.node.processes),
            pod => self.wanted.pod(pod).map(|it| &it.processes),
        };
        let wanted = wanted.ok_or_else(|| no_such_pod(pod))?.clone();
        let stands = match pod {
            NODE => &mut self.live.plan.node.processes,
            pod => match self.live.plan.pods.iter_mut().find(|it| it.name == pod) {
                Some(found) => &mut found.processes,
                None => return Err(no_such_pod(pod)),
            },
        };
        stands.retain(|it| it.role() != role);
        stands.extend(wanted.into_iter().filter(|it| it.role() == role));
        Ok(())
    }
}

/// The pod that a change is in.
fn pod_of(change: &Change) -> Option<&str> {
    match change {
        Change::AddPod { pod }
        | Change::RemovePod { pod }
        | Change::ReplacePod { pod, .. }
        | Change::Rules { pod, .. }
        | Change::Start { pod, .. }
        | Change::Restart { pod, .. }
        | Change::Routes { pod, .. }
        | Change::End { pod, .. }
        | Change::Addresses { pod, .. } => Some(pod),
        Change::Files { .. } | Change::File { .. } => None,
    }
}

/// Addresses that have gone from a link, and those that are new.
type Neighbours = (Vec<IpAddr>, Vec<(IpAddr, Mac)>);

fn of_link(was: &[(IpAddr, Mac)], is: &[(IpAddr, Mac)]) -> Neighbours {
    let gone = was.iter().filter(|it| !is.contains(it));
    let new = is.iter().filter(|it| !was.contains(it));
    (gone.map(|(ip, _)| *ip).collect(), new.copied().collect())
}

/// Runs on the thread of the namespace.
fn tell(at: &Inside, link: &str, (gone, new): &Neighbours) -> Result<(), crate::net::NetError> {
    at.netlink.remove_neighbours(link, gone)?;
    at.netlink.add_neighbours(link, new)
}

/// Rules as they are given to iptables-restore, users and groups as numbers; rules of nft as they are.
fn numbered(texts: &crate::plan::RuleTexts) -> Result<Written, Failure> {
    if texts.written.is_nft() {
        return Ok(texts.written.clone());
    }
    let mut numbers = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let set = texts.written.rules(family, "the rules");
        if let Some(set) = set.map_err(|it| Failure::new(Class::Input, it.to_string()))? {
            let set = texts.names.resolve(&set.without_counters());
            numbers.insert(family, rules::to_restore(&set));
        }
    }
    Ok(Written::Iptables(numbers))
}
