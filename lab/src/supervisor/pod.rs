//! Builds one pod, on its own thread: namespace, link, rules, routes, watches, processes.

use std::{fs::File, net::IpAddr, os::fd::AsFd, sync::Arc};

use super::{observers::PodWatch, phase};
use crate::{
    evidence::PodUp,
    failure::Failure,
    net::{self, Inside, Namespace, NetError, write_sysctls},
    netfilter::{self, Applied, ConntrackWatch, NetfilterError, RuleTool as Tool},
    plan::{LinkPlan, Plan, PodPlan, RelayPlan, RuleTexts},
    process::{self, Input, Sink, Stub},
    rules::Written,
    traced::Tracing,
};

/// What every pod's set-up needs beside its own plan.
pub(super) struct Shared {
    pub tool: Tool,
    pub rules: RuleTexts,
    pub tracing: Tracing,
    /// Bytes that each socket of an observer may hold; none: the usual.
    pub event_room: Option<usize>,
    pub bridge: String,
    pub sink: Sink,
}

impl Shared {
    /// What the plan of a lab says for all pods.
    pub fn of(plan: &Plan, tool: Tool, sink: &Sink) -> Self {
        Self {
            tool,
            rules: plan.rules.clone(),
            tracing: plan.tracing,
            event_room: plan.event_room,
            bridge: plan.node.bridge.clone(),
            sink: Arc::clone(sink),
        }
    }
}

/// The namespace that the other end of a pod's link is in: the node, or the pod that the pod is behind.
pub(super) struct Uplink {
    pub sender: net::Sender,
    pub namespace: File,
}

/// What a pod's set-up gives back.
pub(super) struct Built {
    pub applied: Option<Applied>,
    pub conntrack: Option<ConntrackWatch>,
    pub trace: Option<PodWatch>,
    pub inputs: Vec<Input>,
}

pub(super) fn build_pod(
    plan: &PodPlan,
    first: Stub,
    shared: &Arc<Shared>,
    uplink: &Arc<Uplink>,
) -> Result<(Namespace, Built), Failure> {
    let namespace = Namespace::create(&plan.name)?;
    phase("namespace");
    let (plan, shared) = (plan.clone(), Arc::clone(shared));
    let uplink = Arc::clone(uplink);
    let built = namespace
        .job(move |inside| build_inside(inside, &plan, first, &shared, &uplink))
        .wait();
    match built.map_err(Failure::from).and_then(|it| it) {
        Ok(built) => Ok((namespace, built)),
        Err(failure) => {
            // Nothing of a pod that was not finished stays in a lab that goes on. The first error says what is wrong.
            let _ = namespace.remove();
            Err(failure)
        }
    }
}

/// Runs on the pod's own thread.
fn build_inside(
    inside: &mut Inside,
    plan: &PodPlan,
    first: Stub,
    shared: &Shared,
    uplink: &Uplink,
) -> Result<Built, Failure> {
    write_sysctls(&plan.sysctls)?;
    inside.netlink.set_up("lo", &plan.loopback)?;
    if plan.plugged {
        plug(inside, &plan.link, uplink, &shared.bridge)?;
    }
    phase("links");
    let (mut applied, mut conntrack) = (None, None);
    if plan.intercepted {
        let rules = plan.rules.as_ref().unwrap_or(&shared.rules);
        applied = Some(apply(shared.tool, rules, &inside.name)?);
        write_sysctls(&plan.conntrack_sysctls)?;
        conntrack = Some(match shared.event_room {
            None => ConntrackWatch::open()?,
            Some(bytes) => ConntrackWatch::with_room(bytes)?,
        });
        for step in &plan.routes {
            inside.netlink.add_beside_rules(step)?;
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
    if plan.plugged {
        await_link(inside, &plan.link, uplink)?;
    }
    for (address, _) in &plan.loopback {
        net::await_address(*address)?;
    }
    Ok(Built {
        applied,
        conntrack,
        trace,
        inputs,
    })
}

/// Links a pod to the node or to the pod it is behind; runs on its thread.
pub(super) fn plug(
    inside: &Inside,
    link: &LinkPlan,
    uplink: &Uplink,
    bridge: &str,
) -> Result<(), Failure> {
    let netlink = &inside.netlink;
    let (host, there) = (link.host_interface.clone(), uplink.namespace.as_fd());
    match link.behind.clone() {
        None => {
            netlink.add_veth(&link.interface, link.mac, &host, there)?;
            let bridge = bridge.to_owned();
            let attached = uplink.sender.job(move |node| attach(node, &host, &bridge));
            attached.wait()??;
        }
        Some(relay) => {
            netlink.add_silent_veth((&link.interface, link.mac), (&host, relay.mac), there)?;
            let attached = uplink
                .sender
                .job(move |outer| attach_to_pod(outer, &host, &relay));
            attached.wait()??;
        }
    }
    netlink.set_up(&link.interface, &link.addresses)?;
    netlink.add_neighbours(&link.interface, &link.neighbours)?;
    for gateway in &link.gateways {
        netlink.add_default_route(*gateway)?;
    }
    Ok(())
}

/// Waits until a link carries packets, at its other end too where that is in a pod: a first one that comes before is lost,
/// or leaves by the wrong interface, and is tried again after a second.
pub(super) fn await_link(inside: &Inside, link: &LinkPlan, uplink: &Uplink) -> Result<(), Failure> {
    carries(inside, &link.interface, &link.addresses)?;
    if let Some(relay) = link.behind.clone() {
        let port = link.host_interface.clone();
        let there = uplink
            .sender
            .job(move |outer| carries(outer, &port, &relay.addresses));
        there.wait()??;
    }
    Ok(())
}

fn carries(inside: &Inside, interface: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetError> {
    net::await_carrier(inside, interface)?;
    let mut addresses = addresses.iter();
    addresses.try_for_each(|(address, _)| net::await_address(*address))
}

pub(super) fn apply(tool: Tool, rules: &RuleTexts, pod: &str) -> Result<Applied, NetfilterError> {
    match (tool, &rules.written) {
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

/// The end of a link in a pod that forwards.
fn attach_to_pod(outer: &Inside, port: &str, relay: &RelayPlan) -> Result<(), NetError> {
    write_sysctls(&relay.sysctls)?;
    outer.netlink.set_up(port, &relay.addresses)?;
    outer.netlink.add_neighbours(port, &relay.neighbours)?;
    let mut routes = relay.routes.iter();
    routes.try_for_each(|address| outer.netlink.add_route_to(*address, port))
}

/// What there is to say of a pod, but for its processes.
pub(super) fn pod_up(plan: &PodPlan, applied: Option<Applied>) -> PodUp {
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
