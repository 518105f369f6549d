//! Builds pods of the lab and takes them in, and starts the node's own processes.

use std::{collections::BTreeMap, sync::Arc, thread};

use super::{
    live::{Live, LivePod, LiveStub, no_such_pod},
    logs, own_namespace,
    pod::{Built, Shared, Uplink, build_pod, pod_up},
};
use crate::{
    evidence::PodUp,
    failure::{Class, Failure},
    net::{Namespace, NetError},
    netfilter::{Backend, RuleTool as Tool},
    plan::{Plan, PodPlan},
    process::{self, Stub},
};

/// Starts the node's own processes, before any pod asks them anything.
pub(super) fn start_in_node(plan: &Plan, live: &mut Live) -> Result<(), Failure> {
    for process in &plan.node.processes {
        let stub = live.stubs.len();
        live.stubs
            .push(LiveStub::new(process.name(), None, process.role()));
        let (process, sink) = (process.clone(), Arc::clone(&live.sink));
        let started = live
            .node
            .job(move |_| process::spawn(&process, stub, &sink));
        live.stubs[stub].input = Some(started.wait()??);
    }
    Ok(())
}

/// Builds all pods and reports them in the order of the plan. Those behind another come second.
pub(super) fn build(
    plan: &Plan,
    shared: &Arc<Shared>,
    node: &Arc<Uplink>,
    live: &mut Live,
) -> Result<Vec<PodUp>, Failure> {
    let mut numbers = Vec::new();
    for pod in &plan.pods {
        let first = live.stubs.len();
        expect_processes(live, pod);
        numbers.push(first);
    }
    let numbered = || plan.pods.iter().zip(numbers.iter().copied());
    let outer = numbered().filter(|(pod, _)| pod.link.behind.is_none());
    let mut built = build_side_by_side(
        outer.map(|(pod, first)| (pod, first, Arc::clone(node))),
        shared,
    )?;
    let mut inner = Vec::new();
    for (pod, first) in numbered() {
        if let Some(behind) = &pod.link.behind {
            let (namespace, _) = built
                .get(&behind.pod)
                .ok_or_else(|| no_such_pod(&behind.pod))?;
            inner.push((pod, first, Arc::new(uplink(namespace)?)));
        }
    }
    built.extend(build_side_by_side(inner.into_iter(), shared)?);
    let mut pods = Vec::new();
    for (pod, first) in plan.pods.iter().zip(numbers) {
        let done = built.remove(&pod.name);
        let done = done.ok_or_else(|| no_such_pod(&pod.name))?;
        pods.push(settle_in(live, pod, first, done));
    }
    Ok(pods)
}

/// Makes room for what processes of a pod will report.
pub(super) fn expect_processes(live: &mut Live, pod: &PodPlan) {
    for process in &pod.processes {
        let stub = LiveStub::new(process.name(), Some(pod.name.clone()), process.role());
        live.stubs.push(stub);
    }
}

/// Takes a pod that was built into the lab; `first` is the number of its first process.
pub(super) fn settle_in(
    live: &mut Live,
    pod: &PodPlan,
    first: Stub,
    (namespace, built): (Namespace, Built),
) -> PodUp {
    for (stub, input) in live.stubs[first..].iter_mut().zip(built.inputs) {
        stub.input = Some(input);
    }
    let legacy = match (live.tool, &built.applied) {
        (Tool::Iptables(Backend::Legacy), Some(applied)) => applied.saved.clone(),
        _ => Vec::new(),
    };
    let up = pod_up(pod, built.applied);
    if let Some(log) = &up.istio_init {
        logs::keep_init_log(&pod.name, log);
    }
    let entry = LivePod {
        namespace,
        intercepted: pod.intercepted,
        counters: up.counters.clone(),
        conntrack: built.conntrack,
        legacy,
        trace: built.trace,
        applied: pod.intercepted.then(|| up.rules.clone()),
    };
    live.pods.insert(pod.name.clone(), entry);
    up
}

/// Builds pods, one thread each.
fn build_side_by_side<'p>(
    pods: impl Iterator<Item = (&'p PodPlan, Stub, Arc<Uplink>)>,
    shared: &Arc<Shared>,
) -> Result<BTreeMap<String, (Namespace, Built)>, Failure> {
    thread::scope(|scope| {
        let start = |(pod, first, uplink): (&'p PodPlan, Stub, Arc<Uplink>)| {
            let build = move || build_pod(pod, first, shared, &uplink);
            (pod.name.clone(), scope.spawn(build))
        };
        let threads: Vec<_> = pods.map(start).collect();
        let panicked = || Failure::new(Class::State, "a thread that built a pod panicked");
        let joined = threads.into_iter().map(|(name, thread)| {
            let built = thread.join().unwrap_or_else(|_| Err(panicked()));
            Ok((name, built?))
        });
        joined.collect()
    })
}

/// The node as the place where links of pods end.
pub(super) fn node_uplink(node: &Namespace) -> Result<Uplink, Failure> {
    let namespace = own_namespace().map_err(|source| NetError::Open {
        what: "its own handle",
        name: "node".into(),
        source,
    })?;
    Ok(Uplink {
        sender: node.sender(),
        namespace,
    })
}

/// A pod as the place where links of others end.
pub(super) fn uplink(pod: &Namespace) -> Result<Uplink, Failure> {
    let name = pod.name().to_owned();
    let opened = pod.job(|_| own_namespace()).wait()?;
    let namespace = opened.map_err(|source| NetError::Open {
        what: "its own handle",
        name,
        source,
    })?;
    Ok(Uplink {
        sender: pod.sender(),
        namespace,
    })
}
