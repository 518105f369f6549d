//! Builds the lab: the node first, then all pods at once, then it waits until every process says it is ready.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use super::{
    Event,
    build::{build, node_uplink, start_in_node},
    live::Live,
    node_rules, phase,
    pod::Shared,
};
use crate::{
    evidence::{Machine, Up},
    failure::{Class, Failure},
    net::{
        Namespace, NetError, await_address, await_carrier, write_sysctls, write_sysctls_if_there,
    },
    netfilter::{self, Chosen, Holder, NetfilterError, RuleTool as Tool},
    plan::{Plan, PodPlan},
    process::{ProcessError, Sink},
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
    let uplink = Arc::new(node_uplink(&node)?);
    let shared = Arc::new(Shared::of(&plan, tool, &sink));
    let mut live = Live {
        tool,
        families: families(&plan),
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
        plan: plan.clone().with_rules_at_pods(),
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
    await_bridge(&plan, &live.node, plan.pods.iter())?;
    await_ready(&mut live, queue)?;
    phase("up");
    let mut up = Up {
        pods,
        node: Vec::new(),
        tracing: plan.tracing,
        took_us: micros(started.elapsed()),
    };
    live.name_processes(&mut up);
    Ok((live, machine, up))
}

/// Families that the pods have rules of.
pub(super) fn families(plan: &Plan) -> Vec<Family> {
    let all = [Family::V4, Family::V6].into_iter();
    all.filter(|it| plan.rules.written.of(*it).is_some())
        .collect()
}

/// What applies the rules: for rules of iptables the backend that is asked for, else nft.
pub(super) fn settle(plan: &Plan) -> Result<(Tool, Machine), NetfilterError> {
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
pub(super) fn await_bridge<'p>(
    plan: &Plan,
    node: &Namespace,
    pods: impl Iterator<Item = &'p PodPlan>,
) -> Result<(), NetError> {
    let at_bridge = pods.filter(|pod| pod.link.behind.is_none());
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
