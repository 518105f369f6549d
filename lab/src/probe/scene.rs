//! The scene: a pod with the rules, and one machine outside that has every address the pod has not.

use std::{collections::BTreeMap, fs::File, net::IpAddr, os::fd::AsFd};

use super::{ProbeError, ProbePlan, prefix_of};
use crate::{
    failure::Failure,
    net::{self, Inside, MarkRule, Namespace, NetError, write_sysctls},
    netfilter::{self, Backend},
    plan::Mac,
    rules::{Family, RuleSet, Written},
};

const POD: &str = "pod";
const OUTSIDE: &str = "outside";
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
    /// As read back from the kernel.
    pub rules: BTreeMap<Family, RuleSet>,
}

impl Scene {
    /// Builds both and applies the rules; `backend` is there for rules of iptables.
    pub fn build(plan: &ProbePlan, backend: Option<Backend>) -> Result<Self, Failure> {
        let (pod, outside) = (Namespace::create(POD)?, Namespace::create(OUTSIDE)?);
        match furnish(plan, backend, &pod, &outside) {
            Ok(rules) => Ok(Self {
                pod,
                outside,
                rules,
            }),
            Err(failure) => {
                // The next probe of this sandbox has a scene of the same names.
                pod.remove()?;
                outside.remove()?;
                Err(failure)
            }
        }
    }

    /// Removes both; nothing of theirs may be in use any more.
    pub fn remove(self) -> Result<(), NetError> {
        self.pod.remove()?;
        self.outside.remove()
    }
}

/// Links, addresses and routes of both, then the rules; the rules as the kernel has them.
fn furnish(
    plan: &ProbePlan,
    backend: Option<Backend>,
    pod: &Namespace,
    outside: &Namespace,
) -> Result<BTreeMap<Family, RuleSet>, Failure> {
    let families: Vec<Family> = [Family::V4, Family::V6].into();
    let addresses = |of: &dyn Fn(Family) -> IpAddr| -> Vec<(IpAddr, u8)> {
        let all = families.iter().map(|family| of(*family));
        all.map(|it| (it, prefix_of(it))).collect()
    };
    let ours = addresses(&|family| plan.stage.pod(family));
    let theirs = addresses(&|family| plan.stage.peer(family));
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
    let (text, marks) = (plan.rules.clone(), plan.marks.clone());
    let rules = pod.job(move |inside| {
        let rules = apply(&text, backend)?;
        route_marked(inside, &marks)?;
        Ok::<_, Failure>(rules)
    });
    rules.wait()?
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
