//! Builds the lab: the node first, then all pods at once, then it waits until every process says it is ready.

use std::{
    collections::BTreeMap,
    fs::File,
    net::IpAddr,
    os::fd::AsFd,
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
    live::{Live, LivePod, LiveStub},
    observers::PodWatch,
    own_namespace, phase,
};
use crate::{
    evidence::{Machine, PodUp, Up},
    failure::{Class, Failure},
    istio::routes::{Mark, Step},
    net::{self, Inside, MarkRule, Namespace, NetError, Netlink, write_sysctls},
    netfilter::{self, Applied, Chosen, ConntrackWatch, Holder, NetfilterError, RuleTool as Tool},
    plan::{Mac, Plan, PodPlan, ProcessPlan, RuleTexts},
    process::{self, Input, ProcessError, Sink, Stub},
    rules::{Family, Written},
    traced::Tracing,
};

/// Time for every process to say it is ready.
const READY_SECONDS: u64 = 10;

/// What every pod's set-up needs beside its own plan.
struct Shared {
    tool: Tool,
    rules: RuleTexts,
    tracing: Tracing,
    event_room: Option<usize>,
    bridge: String,
    neighbours: Vec<(IpAddr, Mac)>,
    node: net::Sender,
    node_ns: File,
    sink: Sink,
}

/// What a pod's set-up gives back.
struct Built {
    applied: Option<Applied>,
    conntrack: Option<ConntrackWatch>,
    trace: Option<PodWatch>,
    inputs: Vec<Input>,
}

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
    let shared = Arc::new(Shared {
        tool,
        rules: plan.rules.clone(),
        tracing: plan.tracing,
        event_room: plan.event_room,
        bridge: plan.node.bridge.clone(),
        neighbours: plan.neighbours.clone(),
        node: node.sender(),
        node_ns: own,
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
    };
    start_in_node(&plan, &mut live)?;
    let mut pods = build(&plan, &shared, &mut live)?;
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

/// Builds all pods, one thread each, and reports them in the order of the plan.
fn build(plan: &Plan, shared: &Arc<Shared>, live: &mut Live) -> Result<Vec<PodUp>, Failure> {
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
    let built: Vec<Result<(Namespace, Built), Failure>> = thread::scope(|scope| {
        let threads: Vec<_> = plan
            .pods
            .iter()
            .zip(&numbers)
            .map(|(pod, &first)| scope.spawn(move || build_pod(pod, first, shared)))
            .collect();
        threads
            .into_iter()
            .map(|t| {
                t.join().unwrap_or_else(|_| {
                    Err(Failure::new(
                        Class::State,
                        "a thread that built a pod panicked",
                    ))
                })
            })
            .collect()
    });
    let mut pods = Vec::new();
    for ((pod, first), result) in plan.pods.iter().zip(numbers).zip(built) {
        let (namespace, built) = result?;
        for (stub, input) in live.stubs[first..].iter_mut().zip(built.inputs) {
            stub.input = Some(input);
        }
        let up = pod_up(pod, built.applied);
        let entry = LivePod {
            namespace,
            intercepted: pod.intercepted,
            counters: up.counters.clone(),
            conntrack: built.conntrack,
            trace: built.trace,
        };
        live.pods.insert(pod.name.clone(), entry);
        pods.push(up);
    }
    Ok(pods)
}

fn build_pod(
    plan: &PodPlan,
    first: Stub,
    shared: &Arc<Shared>,
) -> Result<(Namespace, Built), Failure> {
    let namespace = Namespace::create(&plan.name)?;
    phase("namespace");
    let (plan, shared) = (plan.clone(), Arc::clone(shared));
    let built = namespace
        .job(move |inside| build_inside(inside, &plan, first, &shared))
        .wait()??;
    Ok((namespace, built))
}

/// Runs on the pod's own thread.
fn build_inside(
    inside: &mut Inside,
    plan: &PodPlan,
    first: Stub,
    shared: &Shared,
) -> Result<Built, Failure> {
    write_sysctls(&plan.sysctls)?;
    let (link, netlink) = (&plan.link, &inside.netlink);
    netlink.set_up("lo", &plan.loopback)?;
    netlink.add_veth(
        &link.interface,
        link.mac,
        &link.host_interface,
        shared.node_ns.as_fd(),
    )?;
    let (host, bridge) = (link.host_interface.clone(), shared.bridge.clone());
    shared
        .node
        .job(move |node| attach(node, &host, &bridge))
        .wait()??;
    netlink.set_up(&link.interface, &link.addresses)?;
    netlink.add_neighbours(&link.interface, &shared.neighbours)?;
    for gateway in &link.gateways {
        netlink.add_default_route(*gateway)?;
    }
    phase("links");
    let (mut applied, mut conntrack) = (None, None);
    if plan.intercepted {
        applied = Some(apply(shared, &inside.name)?);
        write_sysctls(&plan.conntrack_sysctls)?;
        conntrack = Some(match shared.event_room {
            None => ConntrackWatch::open()?,
            Some(bytes) => ConntrackWatch::with_room(bytes)?,
        });
        for step in &plan.routes {
            add_route(netlink, step)?;
        }
    }
    phase("rules");
    let mut inputs = Vec::new();
    for (i, process) in plan.processes.iter().enumerate() {
        inputs.push(process::spawn(process, first + i, &shared.sink)?);
    }
    phase("processes");
    // While the processes start.
    let saved = applied.as_ref().map_or(&[][..], |it| &it.saved);
    let trace = PodWatch::open(shared.tracing, shared.tool, saved, shared.event_room)?;
    phase("observers");
    Ok(Built {
        applied,
        conntrack,
        trace,
        inputs,
    })
}

fn apply(shared: &Shared, pod: &str) -> Result<Applied, NetfilterError> {
    let rules = &shared.rules;
    match (shared.tool, &rules.written) {
        (Tool::Iptables(backend), _) => netfilter::apply(backend, rules, pod),
        (Tool::Nft, Written::Nft { nft }) => netfilter::apply_native(nft, rules, pod),
        (Tool::Nft, Written::Iptables(_)) => {
            unreachable!("`settle` takes nft for rules of nft only")
        }
    }
}

/// A port of the bridge has no IPv6 of its own: what it would say of itself goes to the pod.
fn attach(node: &Inside, port: &str, bridge: &str) -> Result<(), NetError> {
    let silent = format!("net/ipv6/conf/{port}/disable_ipv6");
    write_sysctls(&[(silent, "1".to_owned())])?;
    node.netlink.attach(port, bridge)
}

/// What Istio sets beside the rules, once they are there.
fn add_route(netlink: &Netlink, step: &Step) -> Result<(), NetError> {
    match step {
        Step::Rule {
            family,
            mark,
            preference,
            table,
        } => {
            let (mark, mask) = match mark {
                Mark::Whole(mark) => (*mark, None),
                Mark::Masked(mark, mask) => (*mark, Some(*mask)),
            };
            netlink.add_mark_rule(MarkRule {
                family: *family,
                mark,
                mask,
                preference: *preference,
                table: *table,
            })
        }
        Step::LocalRoute { family, table } => netlink.add_local_route(*family, *table),
        // Set with lo, before the rules: the plan lists it there.
        Step::LoopbackAddress(_) => Ok(()),
    }
}

fn pod_up(plan: &PodPlan, applied: Option<Applied>) -> PodUp {
    let (log, held, counters) = match applied {
        Some(applied) => (Some(applied.log), applied.held, applied.counters),
        None => (None, Written::default(), Vec::new()),
    };
    PodUp {
        name: plan.name.clone(),
        rules: held,
        counters,
        istio_init: log,
        processes: Vec::new(),
    }
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
