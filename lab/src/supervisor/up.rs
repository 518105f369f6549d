//! Builds the lab: the node first, then all pods at once, then it waits until every process says it is ready.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use hoplab_proxies::record::Role;

use super::{
    Event,
    live::{Live, LivePod, LiveStub, no_such_pod},
    logs, node_rules, own_namespace, phase,
    pod::{Built, Shared, Uplink, build_pod, pod_up},
};
use crate::{
    evidence::{Machine, PodUp, Up},
    failure::{Class, Failure},
    net::{
        Namespace, NetError, await_address, await_carrier, write_sysctls, write_sysctls_if_there,
    },
    netfilter::{self, Backend, Chosen, Holder, NetfilterError, RuleTool as Tool},
    plan::{Plan, PodPlan, ProcessPlan},
    process::{self, ProcessError, Sink, Stub},
    rules::{Family, Written},
};

/// Time for every process to say it is ready.
const READY_SECONDS: u64 = 10;

pub(super) fn up(
    plan: Plan,
    events: &Sender<Event>,
    queue: &Receiver<Event>,
) -> Result<(Live, Machine, Up), Failure> {
    let started = Instant::now();
    phase("mounted");
    let (tool, machine) = settle(&plan)?;
    let node = node(&plan)?;
    if let Some(rules) = plan.rules.host.clone() {
        let applied = node.job(move |_| netfilter::apply_host(tool, &rules, "the node"));
        applied.wait()??;
    }
    phase("node");
    let sink: Sink = {
        let events = events.clone();
        Arc::new(move |report| {
            let _ = events.send(Event::Report(Box::new(report)));
        })
    };
    let own = own_namespace().map_err(|source| NetError::Open {
        what: "its own handle",
        name: "node".into(),
        source,
    })?;
    let uplink = Arc::new(Uplink {
        sender: node.sender(),
        namespace: own,
    });
    let shared = Arc::new(Shared {
        tool,
        rules: plan.rules.clone(),
        tracing: plan.tracing,
        event_room: plan.event_room,
        bridge: plan.node.bridge.clone(),
        sink: Arc::clone(&sink),
    });
    let families = [Family::V4, Family::V6]
        .into_iter()
        .filter(|f| plan.rules.written.of(*f).is_some());
    let mut live = Live {
        tool,
        families: families.collect(),
        node,
        pods: BTreeMap::new(),
        stubs: Vec::new(),
        sink,
        records: Vec::new(),
        replies: BTreeMap::new(),
        next_call: 0,
        unsynced: (0, 0),
        held: BTreeMap::new(),
        of_held: Vec::new(),
        released: Default::default(),
        plans: plans(&plan),
        broken: None,
        tracing: plan.tracing,
        event_room: plan.event_room,
        is_kept: false,
    };
    start_in_node(&plan, &mut live)?;
    // While the pods are built.
    let ruled = node_rules::begin(&plan, tool)?;
    let mut pods = build(&plan, &shared, &uplink, &mut live)?;
    if let Some(ruled) = ruled {
        let (up, place) = ruled.wait()?;
        live.pods.insert(up.name.clone(), place);
        pods.push(up);
    }
    await_bridge(&plan, &live.node)?;
    await_ready(&mut live, queue)?;
    let of_node = live.stubs.iter().filter(|s| s.pod.is_none());
    let node = of_node.filter_map(|s| s.ready.clone()).collect();
    for pod in &mut pods {
        let of_pod = live
            .stubs
            .iter()
            .filter(|s| s.pod.as_ref() == Some(&pod.name));
        pod.processes = of_pod.filter_map(|s| s.ready.clone()).collect();
    }
    phase("up");
    let up = Up {
        pods,
        node,
        tracing: plan.tracing,
        took_us: micros(started.elapsed()),
    };
    Ok((live, machine, up))
}

/// What applies the rules: for rules of iptables the backend that is asked for, else nft.
fn settle(plan: &Plan) -> Result<(Tool, Machine), NetfilterError> {
    let (tool, version, backend) = match &plan.rules.written {
        Written::Nft { .. } => {
            let chosen = Chosen {
                backend: Holder::Nft,
                why: "the rules are nft's own".into(),
            };
            (Tool::Nft, netfilter::nft_version()?, chosen)
        }
        Written::Iptables(_) => {
            let chosen = plan.backend.settle()?;
            let tool = Tool::Iptables(chosen.backend);
            (tool, netfilter::version(chosen.backend)?, chosen.into())
        }
    };
    let machine = Machine {
        kernel: kernel_release(),
        iptables: version,
        backend,
        root: is_machine_root(),
    };
    Ok((tool, machine))
}

fn node(plan: &Plan) -> Result<Namespace, NetError> {
    let node = Namespace::node()?;
    let (planned, neighbours) = (plan.node.clone(), plan.neighbours.clone());
    node.job(move |inside| {
        write_sysctls(&planned.sysctls)?;
        write_sysctls_if_there(&planned.bridge_sysctls)?;
        inside.netlink.set_up("lo", &planned.loopback)?;
        let (netlink, bridge) = (&inside.netlink, &planned.bridge);
        netlink.add_bridge(bridge, planned.mac)?;
        write_sysctls(&planned.forwarding)?;
        netlink.set_up(bridge, &planned.addresses)?;
        netlink.add_neighbours(bridge, &neighbours)
    })
    .wait()??;
    Ok(node)
}

/// Waits until the node forwards what pods send; pods wait for their own ends.
fn await_bridge(plan: &Plan, node: &Namespace) -> Result<(), NetError> {
    let at_bridge = plan.pods.iter().filter(|pod| pod.link.behind.is_none());
    let ports = at_bridge.map(|pod| pod.link.host_interface.clone());
    let links: Vec<_> = ports.chain([plan.node.bridge.clone()]).collect();
    let of_node = plan.node.loopback.iter().chain(&plan.node.addresses);
    let addresses: Vec<_> = of_node.map(|(address, _)| *address).collect();
    node.job(move |inside| {
        links.iter().try_for_each(|it| await_carrier(inside, it))?;
        addresses.into_iter().try_for_each(await_address)
    })
    .wait()?
}

/// How each process of a pod is started.
fn plans(plan: &Plan) -> BTreeMap<(String, Role), ProcessPlan> {
    let pods = plan.pods.iter();
    let all = pods.flat_map(|pod| pod.processes.iter().map(|it| (pod.name.clone(), it)));
    let keyed = all.map(|(pod, it)| ((pod, process::role_of(&it.config.part)), it.clone()));
    keyed.collect()
}

/// Starts the node's own processes, before any pod asks them anything.
fn start_in_node(plan: &Plan, live: &mut Live) -> Result<(), Failure> {
    for process in &plan.node.processes {
        let stub = live.stubs.len();
        live.stubs.push(LiveStub::new(
            process::name_of(&process.config),
            None,
            process::role_of(&process.config.part),
        ));
        let (process, sink) = (process.clone(), Arc::clone(&live.sink));
        let started = live
            .node
            .job(move |_| process::spawn(&process, stub, &sink));
        live.stubs[stub].input = Some(started.wait()??);
    }
    Ok(())
}

/// Builds all pods and reports them in the order of the plan. Those behind another come second.
fn build(
    plan: &Plan,
    shared: &Arc<Shared>,
    node: &Arc<Uplink>,
    live: &mut Live,
) -> Result<Vec<PodUp>, Failure> {
    let mut numbers = Vec::new();
    for pod in &plan.pods {
        let first = live.stubs.len();
        for process in &pod.processes {
            live.stubs.push(LiveStub::new(
                process::name_of(&process.config),
                Some(pod.name.clone()),
                process::role_of(&process.config.part),
            ));
        }
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
        let (namespace, built) = done.ok_or_else(|| no_such_pod(&pod.name))?;
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
        };
        live.pods.insert(pod.name.clone(), entry);
        pods.push(up);
    }
    Ok(pods)
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

/// A pod as the place where links of others end.
fn uplink(pod: &Namespace) -> Result<Uplink, Failure> {
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

fn await_ready(live: &mut Live, queue: &Receiver<Event>) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(READY_SECONDS);
    while let Some(waiting) = live.stubs.iter().position(|s| s.ready.is_none()) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(report)) => live.take_report(*report),
            Ok(Event::Stop | Event::Orphaned) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(
                    Class::State,
                    "the lab was told to stop before it was up",
                ));
            }
            Ok(Event::Request(_) | Event::Left) => {}
            Err(RecvTimeoutError::Timeout) => {
                let stub = &live.stubs[waiting];
                return Err(ProcessError::NotReady {
                    name: stub.name.clone(),
                    seconds: READY_SECONDS,
                    stderr: stub.last_words(),
                }
                .into());
            }
        }
        live.check_processes()?;
    }
    Ok(())
}

fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |e| format!("unknown ({e})"),
        |u| u.release().to_string_lossy().into_owned(),
    )
}

/// True without a user namespace of our own: the identity map covers all ids.
fn is_machine_root() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
