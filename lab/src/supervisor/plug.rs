//! Adds and takes away the link of a pod that is behind another, while both run.

use std::collections::BTreeMap;

use super::{
    build::uplink,
    live::{Live, no_such_pod},
    pod,
};
use crate::{
    failure::{Class, Failure},
    net::Inside,
    plan::LinkPlan,
};

/// Interfaces that the kernel has, by pod.
pub(super) type Interfaces = BTreeMap<String, Vec<String>>;

/// Adds the link, and waits until it carries packets at both ends.
pub(super) fn plug(live: &mut Live, name: &str, link: LinkPlan) -> Result<Interfaces, Failure> {
    let inner = live.pods.get(name).ok_or_else(|| no_such_pod(name))?;
    let Some(relay) = &link.behind else {
        let what = format!("pod `{name}` is behind no other");
        return Err(Failure::new(Class::State, what));
    };
    let outer = live.pods.get(&relay.pod);
    let outer = outer.ok_or_else(|| no_such_pod(&relay.pod))?;
    let there = uplink(&outer.namespace)?;
    let plugged = inner.namespace.job(move |inside| {
        pod::plug(inside, &link, &there, "")?;
        pod::await_link(inside, &link, &there)
    });
    plugged.wait()??;
    stands(live, name, true)
}

/// Takes an interface away, and with it its other end.
pub(super) fn unplug(live: &mut Live, name: &str, interface: &str) -> Result<Interfaces, Failure> {
    let pod = live.pods.get(name).ok_or_else(|| no_such_pod(name))?;
    let interface = interface.to_owned();
    let removed = pod
        .namespace
        .job(move |inside| inside.netlink.remove(&interface));
    removed.wait()??;
    stands(live, name, false)
}

/// The plan of the lab says what is there, and the kernel which interfaces.
fn stands(live: &mut Live, name: &str, plugged: bool) -> Result<Interfaces, Failure> {
    let mut pods = live.plan.pods.iter_mut();
    if let Some(pod) = pods.find(|it| it.name == name) {
        pod.plugged = plugged;
    }
    interfaces(live)
}

/// Interfaces of every pod.
fn interfaces(live: &Live) -> Result<Interfaces, Failure> {
    let read = |inside: &mut Inside| inside.netlink.names();
    let pods = live.pods.iter();
    let jobs: Vec<_> = pods
        .map(|(name, pod)| (name.clone(), pod.namespace.job(read)))
        .collect();
    let read = jobs.into_iter();
    read.map(|(name, job)| Ok((name, job.wait()??))).collect()
}
