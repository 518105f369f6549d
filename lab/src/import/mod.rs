//! A lab file for a copy of a real container: its interface, addresses, listeners and rules in a pod, with a stub gateway
//! for a peer. Says what of the container it leaves out. Pure.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    failure::{Class, Failure},
    rules::{self, Family, RuleSet, spec_text},
};

/// What was seen of the network namespace of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Its process id.
    pub pid: u32,
    /// Interfaces but for lo, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Default routes: interface, and gateway where there is one.
    pub default_routes: Vec<(String, Option<IpAddr>)>,
    /// Other routes that are no address's own.
    pub other_routes: usize,
    /// Who listens on TCP: port and user, those on loopback alone left out.
    pub listeners: Vec<(u16, u32)>,
}

/// An interface and its addresses, link-local ones left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Addresses with their prefixes.
    pub addresses: Vec<IpNet>,
}

/// A lab file, and what of the container is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The text.
    pub text: String,
    /// A sentence each.
    pub left_out: Vec<String>,
}

/// Names in the lab.
pub const POD: &str = "copy";
/// The pod that answers.
pub const PEER: &str = "peer";

/// Where a container has no address of a family: the pod of a lab has both.
const SPARE: (Ipv4Net, Ipv6Net) = (
    Ipv4Net::new_assert(Ipv4Addr::new(10, 213, 0, 0), 24),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd21, 3, 0, 0, 0, 0, 0, 0), 64),
);

/// Ports that the stub proxy takes for itself in a pod.
const OF_PROXIES: std::ops::RangeInclusive<u16> = 15_000..=15_099;

/// The lab file of a copy. `rules` are those of the container, of each family; `proxy` the user its rules know the proxy by.
///
/// # Errors
/// The container has no interface with an address.
pub fn copy(
    seen: &Seen,
    name: &str,
    rules: &[RuleSet],
    proxy: Option<u32>,
) -> Result<Copy, Failure> {
    let interface = chosen(seen)?;
    let mut left_out = Vec::new();
    let (v4, v6) = networks(interface, &mut left_out);
    let gateway = |family: Family| {
        let mut all = seen.default_routes.iter().filter_map(|(_, it)| *it);
        all.find(|it| Family::of(*it) == family)
    };
    let node4 = gateway(Family::V4).filter(|it| v4.contains(it) && *it != v4.addr());
    let node6 = gateway(Family::V6).filter(|it| v6.contains(it) && *it != v6.addr());
    let node4 = node4.unwrap_or_else(|| free(v4, &[v4.addr()]));
    let node6 = node6.unwrap_or_else(|| free(v6, &[v6.addr()]));
    let (peer4, peer6) = (free(v4, &[v4.addr(), node4]), free(v6, &[v6.addr(), node6]));
    tell_the_rest(seen, interface, &mut left_out);
    let (uid, ports) = app(seen, proxy, &mut left_out);
    tell_of_rules(rules, &mut left_out);
    let mut text = format!(
        "name = \"{name}\"\nabout = \"a copy of process {}\"\n\n",
        seen.pid
    );
    let _ = write!(
        text,
        "[network]\nbridge = \"br-lab\"\nipv4 = \"{}\"\nipv6 = \"{}\"\nnode_ipv4 = \"{node4}\"\nnode_ipv6 = \"{node6}\"\n\n",
        v4.trunc(),
        v6.trunc()
    );
    text.push_str("[rules]\n");
    for (key, family) in [("text", Family::V4), ("text_ipv6", Family::V6)] {
        let set = rules.iter().find(|it| it.family == family);
        let written = set.map(|it| rules::to_restore(&it.without_counters()));
        match (written, family) {
            (Some(rules), _) => {
                let _ = write!(text, "{key} = '''\n{rules}'''\n");
            }
            (None, Family::V4) => text.push_str("text = \"*nat\\nCOMMIT\\n\"\n"),
            (None, Family::V6) => {}
        }
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let _ = write!(
        text,
        "\n[[pod]]\nname = \"{POD}\"\ninterface = \"{}\"\nipv4 = \"{}\"\nipv6 = \"{}\"\nsidecar = true\n\
         app = {{ ports = [{}], uid = {uid} }}\n\n\
         [[pod]]\nname = \"{PEER}\"\nipv4 = \"{peer4}\"\nipv6 = \"{peer6}\"\napp = {{ port = 9080 }}\n",
        interface.name,
        v4.addr(),
        v6.addr(),
        ports.join(", ")
    );
    Ok(Copy { text, left_out })
}

/// The interface of the default route, else the first that has an address.
fn chosen(seen: &Seen) -> Result<&Interface, Failure> {
    let with_address = || seen.interfaces.iter().filter(|it| !it.addresses.is_empty());
    let is_default = |it: &&Interface| seen.default_routes.iter().any(|(name, _)| *name == it.name);
    let found = with_address().find(is_default).or(with_address().next());
    found.ok_or_else(|| {
        let what = format!(
            "process {} has no interface with an address but lo",
            seen.pid
        );
        Failure::new(Class::Input, what).hint("its rules alone: hoplab up --rules pid:N")
    })
}

/// The first address of each family with a network that holds others too.
fn networks(interface: &Interface, left_out: &mut Vec<String>) -> (IpNet, IpNet) {
    let first = |family: Family| {
        let mut all = interface.addresses.iter();
        all.find(|it| Family::of(it.addr()) == family).copied()
    };
    for more in interface.addresses.iter().filter(|it| {
        let family = Family::of(it.addr());
        first(family) != Some(**it)
    }) {
        left_out.push(format!(
            "the address {more} of {} is not copied: a pod of a lab has one of each family",
            interface.name
        ));
    }
    let mut wide = |family: Family, widest: u8, spare: IpNet| {
        let Some(own) = first(family) else {
            left_out.push(format!(
                "it has no {family} address; the copy has {}",
                spare.addr()
            ));
            return spare;
        };
        match own.prefix_len() > widest {
            true => {
                left_out.push(format!(
                    "its address is {own}; the copy's network is a /{widest}"
                ));
                IpNet::new(own.addr(), widest).expect("shorter than it was")
            }
            false => own,
        }
    };
    let host = |net: IpNet| IpNet::new(free(net, &[]), net.prefix_len()).expect("as it was");
    (
        wide(Family::V4, 29, host(SPARE.0.into())),
        wide(Family::V6, 120, host(SPARE.1.into())),
    )
}

/// The first address of a network that nobody has.
fn free(net: IpNet, taken: &[IpAddr]) -> IpAddr {
    let mut hosts = net.trunc().hosts().skip_while(|it| *it == net.network());
    let found = hosts.find(|it| !taken.contains(it));
    found.expect("a network of a copy has room for three")
}

fn tell_the_rest(seen: &Seen, chosen: &Interface, left_out: &mut Vec<String>) {
    for other in seen.interfaces.iter().filter(|it| it.name != chosen.name) {
        let addresses: Vec<String> = other.addresses.iter().map(IpNet::to_string).collect();
        left_out.push(format!(
            "the interface {} ({}) is not copied: a pod of a lab has one",
            other.name,
            match addresses.is_empty() {
                true => "no address".to_owned(),
                false => addresses.join(" "),
            }
        ));
    }
    if seen.other_routes > 0 {
        left_out.push(format!(
            "{} routes beside the default and those of its addresses are not copied",
            seen.other_routes
        ));
    }
}

/// User and ports of the app: whoever listens and is not the proxy.
fn app(seen: &Seen, proxy: Option<u32>, left_out: &mut Vec<String>) -> (u32, Vec<u16>) {
    let is_app = |(port, uid): &&(u16, u32)| Some(*uid) != proxy && !OF_PROXIES.contains(port);
    let of_app: Vec<(u16, u32)> = seen.listeners.iter().filter(is_app).copied().collect();
    let Some((_, uid)) = of_app.first().copied() else {
        left_out.push("no app listens there; that of the copy does, on 9080".to_owned());
        return (1000, vec![9080]);
    };
    let mut ports: Vec<u16> = of_app.iter().map(|(port, _)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut others: Vec<String> = of_app
        .iter()
        .filter(|it| it.1 != uid)
        .map(|it| it.1.to_string())
        .collect();
    others.sort();
    others.dedup();
    if !others.is_empty() {
        left_out.push(format!(
            "users {} listen too; in the copy all ports are {uid}'s",
            others.join(" and ")
        ));
    }
    (uid, ports)
}

/// Rules whose words are kept, and whose effect depends on what is not copied.
fn tell_of_rules(sets: &[RuleSet], left_out: &mut Vec<String>) {
    for set in sets {
        let tables = set.tables.keys().flat_map(|table| set.rules(*table));
        for (id, rule) in tables {
            let words = spec_text(&id.chain, &rule.spec);
            let needs = [
                ("--match-set", "sets"),
                ("cgroup", "cgroups"),
                ("--physdev", "bridges"),
            ];
            if let Some((_, what)) = needs.iter().find(|(mark, _)| words.contains(mark)) {
                left_out.push(format!(
                    "the {what} that {} {id} asks for are not copied: {words}",
                    set.family
                ));
            }
        }
    }
    let counted = |set: &RuleSet| {
        let mut rules = set.tables.keys().flat_map(|table| set.rules(*table));
        rules.any(|(_, rule)| rule.counters.is_some_and(|it| it.packets > 0))
    };
    if sets.iter().any(counted) {
        left_out.push(
            "what its rules have counted is not copied: those of the copy begin at 0".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests;
