//! Pods that come and go, and what the others and the node are told of it.

use std::{net::IpAddr, sync::Arc};

use super::{
    super::{
        build::{expect_processes, node_uplink, settle_in, uplink},
        lasting,
        live::no_such_pod,
        pod::{Shared, build_pod},
        up,
    },
    work::Work,
};
use crate::{
    failure::Failure,
    net::{Inside, NetError},
    plan::{LinkPlan, Mac},
};

impl Work<'_> {
    pub(super) fn remove_pod(&mut self, name: &str) -> Result<(), Failure> {
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
    pub(super) fn neighbours(&mut self) -> Result<(), Failure> {
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

    pub(super) fn addresses(&mut self) -> Result<(), Failure> {
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

    pub(super) fn add_pod(&mut self, name: &str) -> Result<(), Failure> {
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
}

/// Addresses that have gone from a link, and those that are new.
type Neighbours = (Vec<IpAddr>, Vec<(IpAddr, Mac)>);

fn of_link(was: &[(IpAddr, Mac)], is: &[(IpAddr, Mac)]) -> Neighbours {
    let gone = was.iter().filter(|it| !is.contains(it));
    let new = is.iter().filter(|it| !was.contains(it));
    (gone.map(|(ip, _)| *ip).collect(), new.copied().collect())
}

/// Runs on the thread of the namespace.
fn tell(at: &Inside, link: &str, (gone, new): &Neighbours) -> Result<(), NetError> {
    at.netlink.remove_neighbours(link, gone)?;
    at.netlink.add_neighbours(link, new)
}
