//! The scene: a pod with the rules, and one machine outside that has every address the pod has not.

use std::{collections::BTreeMap, fs::File, net::IpAddr, os::fd::AsFd};

use super::{ProbeError, ProbePlan, prefix_of};
use crate::{
    behaviour::Stage,
    failure::Failure,
    net::{self, Inside, MarkRule, Namespace, NetError, write_sysctls},
    netfilter::{self, Backend},
    plan::Mac,
    rules::{Family, RuleSet, Written},
};

const POD: &str = "pod";
const OUTSIDE: &str = "outside";
const BEYOND: &str = "beyond-";
/// Interface of the pod, and its other end.
const LINK: &str = crate::behaviour::INTERFACE;
const FAR_END: &str = "far";
const BRIDGE: &str = "net0";
/// The kernel's main routing table (RT_TABLE_MAIN).
const MAIN: u32 = 254;
/// Routing table for marked packets; any number that the kernel does not use.
const MARKED: u32 = 133;

/// Both namespaces, and the rules as the kernel has them.
pub(super) struct Scene {
    pub pod: Namespace,
    pub outside: Namespace,
    /// One machine behind each other interface of the pod, by name of the interface.
    pub beyond: BTreeMap<String, Namespace>,
    /// As read back from the kernel.
    pub rules: BTreeMap<Family, RuleSet>,
}

impl Scene {
    /// Builds both and applies the rules; `backend` is there for rules of iptables.
    pub fn build(plan: &ProbePlan, backend: Option<Backend>) -> Result<Self, Failure> {
        let (pod, outside) = (Namespace::create(POD)?, Namespace::create(OUTSIDE)?);
        let mut scene = Self {
            pod,
            outside,
            beyond: BTreeMap::new(),
            rules: BTreeMap::new(),
        };
        match scene.furnish(plan, backend) {
            Ok(()) => Ok(scene),
            Err(failure) => {
                // The next probe of this sandbox has a scene of the same names.
                scene.remove()?;
                Err(failure)
            }
        }
    }

    fn furnish(&mut self, plan: &ProbePlan, backend: Option<Backend>) -> Result<(), Failure> {
        link(&plan.stage, &self.pod, &self.outside)?;
        for (interface, number) in plan.interfaces() {
            let there = Namespace::create(&format!("{BEYOND}{number}"))?;
            let made = beyond(plan, &self.pod, &there, &interface, number);
            self.beyond.insert(interface, there);
            made?;
            if plan.forwards() {
                self.lead_back(plan, number)?;
            }
        }
        if plan.forwards() {
            self.pod.job(|_| write_sysctls(&forwarding())).wait()??;
        }
        let (text, marks) = (plan.rules.clone(), plan.marks.clone());
        let applied = self.pod.job(move |inside| {
            let rules = apply(&text, backend)?;
            route_marked(inside, &marks)?;
            Ok::<_, Failure>(rules)
        });
        self.rules = applied.wait()??;
        Ok(())
    }

    /// For the outside every address is its own, but those behind the pod.
    fn lead_back(&self, plan: &ProbePlan, number: u8) -> Result<(), Failure> {
        let families = [Family::V4, Family::V6];
        let ways = families.map(|it| (Stage::beyond(number, it).0, plan.stage.pod(it)));
        let led = self.outside.job(move |inside| {
            let mut each = ways.into_iter();
            each.try_for_each(|(to, pod)| inside.netlink.add_route_by(to, pod))
        });
        led.wait()??;
        Ok(())
    }

    /// The namespace that sends what comes in by an interface.
    pub fn behind(&self, interface: &str) -> &Namespace {
        self.beyond.get(interface).unwrap_or(&self.outside)
    }

    /// Removes all; nothing of theirs may be in use any more.
    pub fn remove(self) -> Result<(), NetError> {
        let all = [self.pod, self.outside]
            .into_iter()
            .chain(self.beyond.into_values());
        all.into_iter().try_for_each(Namespace::remove)
    }
}

/// Links, addresses and routes of both; ready for packets when it returns.
pub(crate) fn link(stage: &Stage, pod: &Namespace, outside: &Namespace) -> Result<(), Failure> {
    let families: Vec<Family> = [Family::V4, Family::V6].into();
    let addresses = |of: &dyn Fn(Family) -> IpAddr| -> Vec<(IpAddr, u8)> {
        let all = families.iter().map(|family| of(*family));
        all.map(|it| (it, prefix_of(it))).collect()
    };
    let ours = addresses(&|family| stage.pod(family));
    let theirs = addresses(&|family| stage.peer(family));
    let (our_mac, their_mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let known = (neighbours(&theirs, their_mac), neighbours(&ours, our_mac));
    let gateways: Vec<IpAddr> = theirs.iter().map(|(address, _)| *address).collect();
    let far = outside
        .job(move |inside| bridge(inside, &theirs, their_mac))
        .wait()??;
    let near = pod.job(move |inside| {
        write_sysctls(&sysctls())?;
        // Passthrough calls of IPv6 come from `::6`, which every mesh puts there.
        inside
            .netlink
            .set_up("lo", &[(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 6]), 128)])?;
        inside.netlink.add_veth(LINK, our_mac, FAR_END, far.as_fd())
    });
    near.wait()??;
    outside
        .job(move |inside| attach(inside, &known.1))
        .wait()??;
    let own: Vec<IpAddr> = ours.iter().map(|(address, _)| *address).collect();
    let peers = gateways.clone();
    let known = known.0;
    pod.job(move |inside| {
        inside.netlink.set_up(LINK, &ours)?;
        inside.netlink.add_neighbours(LINK, &known)?;
        let routes = gateways.iter();
        routes
            .copied()
            .try_for_each(|it| inside.netlink.add_default_route(it))?;
        ready(inside, &[LINK], &own)
    })
    .wait()??;
    outside
        .job(move |inside| ready(inside, &[FAR_END, BRIDGE], &peers))
        .wait()??;
    Ok(())
}

/// Another interface of the pod, and the one machine behind it.
fn beyond(
    plan: &ProbePlan,
    pod: &Namespace,
    there: &Namespace,
    interface: &str,
    number: u8,
) -> Result<(), Failure> {
    let families = [Family::V4, Family::V6];
    let (our_mac, their_mac) = (Mac([2, 0, 0, 1, number, 1]), Mac([2, 0, 0, 1, number, 2]));
    let all =
        |of: &dyn Fn(Family) -> IpAddr| families.map(|family| (of(family), prefix_of(of(family))));
    let theirs = all(&|family| Stage::beyond(number, family).0);
    let own = all(&|family| Stage::beyond(number, family).1);
    let here = families.map(|family| plan.stage.pod(family));
    // REDIRECT turns to the first address of the interface, which is to be the pod's. The kernel puts an IPv4 address
    // behind those that are there, and one of IPv6 before them.
    let [v4, v6] = here;
    let addresses = [(v4, 32), own[0], own[1], (v6, 128)];
    let (known, gateways) = (
        neighbours(&theirs, their_mac),
        own.map(|(address, _)| address),
    );
    let back = neighbours(&own, our_mac);
    let far = there.job(move |inside| {
        write_sysctls(&sysctls())?;
        inside.netlink.set_up("lo", &[])?;
        inside.netlink.add_bridge(BRIDGE, their_mac)?;
        inside.netlink.set_up(BRIDGE, &theirs)?;
        handle()
    });
    let (far, name) = (far.wait()??, interface.to_owned());
    pod.job(move |inside| {
        inside
            .netlink
            .add_veth(&name, our_mac, FAR_END, far.as_fd())
    })
    .wait()??;
    there
        .job(move |inside| {
            attach(inside, &back)?;
            let routes = gateways.iter();
            routes
                .copied()
                .try_for_each(|it| inside.netlink.add_default_route(it))
        })
        .wait()??;
    let name = interface.to_owned();
    pod.job(move |inside| {
        inside.netlink.set_up(&name, &addresses)?;
        inside.netlink.add_neighbours(&name, &known)?;
        ready(inside, &[&name], &[own[1].0])
    })
    .wait()??;
    there
        .job(move |inside| ready(inside, &[FAR_END, BRIDGE], &[theirs[1].0]))
        .wait()??;
    Ok(())
}

fn neighbours(addresses: &[(IpAddr, u8)], mac: Mac) -> Vec<(IpAddr, Mac)> {
    addresses
        .iter()
        .map(|(address, _)| (*address, mac))
        .collect()
}

fn sysctls() -> Vec<(String, String)> {
    let pairs = [
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        // A refusal is told every time.
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What lets packets pass through the pod.
fn forwarding() -> Vec<(String, String)> {
    let keys = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    keys.map(|key| (key.to_owned(), "1".to_owned())).into()
}

/// The outside: a silent bridge with the gateway's addresses, and every other address local.
fn bridge(inside: &mut Inside, addresses: &[(IpAddr, u8)], mac: Mac) -> Result<File, NetError> {
    write_sysctls(&sysctls())?;
    let netlink = &inside.netlink;
    netlink.set_up("lo", &[])?;
    netlink.add_bridge(BRIDGE, mac)?;
    netlink.set_up(BRIDGE, addresses)?;
    for (address, _) in addresses {
        netlink.add_local_route(Family::of(*address), MAIN)?;
    }
    handle()
}

/// The namespace of the calling thread, to hand a link to.
fn handle() -> Result<File, NetError> {
    File::open("/proc/thread-self/ns/net").map_err(|source| NetError::Open {
        what: "its own handle",
        name: OUTSIDE.to_owned(),
        source,
    })
}

/// A port of a bridge has no IPv6 of its own: what it would say of itself goes to the pod.
fn attach(inside: &mut Inside, pods: &[(IpAddr, Mac)]) -> Result<(), NetError> {
    let silent = format!("net/ipv6/conf/{FAR_END}/disable_ipv6");
    write_sysctls(&[(silent, "1".to_owned())])?;
    inside.netlink.attach(FAR_END, BRIDGE)?;
    inside.netlink.add_neighbours(BRIDGE, pods)
}

/// Waits until packets pass: what comes earlier is lost, and would look like the work of rules.
fn ready(inside: &Inside, links: &[&str], addresses: &[IpAddr]) -> Result<(), NetError> {
    links
        .iter()
        .try_for_each(|link| net::await_carrier(inside, link))?;
    addresses.iter().copied().try_for_each(net::await_address)
}

fn route_marked(inside: &Inside, marks: &[(Family, u32, u32)]) -> Result<(), net::NetError> {
    let families = marks.iter().map(|(family, ..)| *family);
    for family in families.collect::<std::collections::BTreeSet<_>>() {
        inside.netlink.add_local_route(family, MARKED)?;
    }
    for (family, mark, mask) in marks.iter().copied() {
        inside.netlink.add_mark_rule(MarkRule {
            family,
            mark,
            mask: Some(mask),
            preference: None,
            table: MARKED,
        })?;
    }
    Ok(())
}

/// Applies the rules in the namespace of the calling thread, and reads them back.
fn apply(rules: &Written, backend: Option<Backend>) -> Result<BTreeMap<Family, RuleSet>, Failure> {
    match (rules, backend) {
        (Written::Iptables(texts), Some(backend)) => {
            for (family, text) in texts {
                accepted(netfilter::restore(backend, *family, text, POD)?)?;
            }
            let families = texts.keys();
            let saved =
                families.map(|family| Ok((*family, netfilter::save(backend, *family, POD)?)));
            saved.collect()
        }
        (Written::Iptables(_), None) => Ok(BTreeMap::new()),
        (Written::Nft { nft: text }, _) => {
            accepted(netfilter::transaction(text, POD)?)?;
            let found = netfilter::native_rules(POD)?.into_iter();
            Ok(found.map(|set| (set.family, set)).collect())
        }
    }
}

fn accepted(ended: netfilter::Ended) -> Result<(), ProbeError> {
    match ended.ok {
        true => Ok(()),
        false => Err(ProbeError::Refused {
            command: ended.command,
            words: ended.stderr,
        }),
    }
}
