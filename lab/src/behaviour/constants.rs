//! What rules tell apart: the ports, addresses, users, groups and marks they name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::stage::{INTERFACE, Stage};
use super::subject::Subject;
use crate::model::Hook;
use crate::rules::{
    End, Family, Interface, MarkValue, Match, Matches, NatRange, OwnerId, PortRange, Rule, RuleSet,
    Target,
};

/// An ordinary user, and others for rules that name it.
const APPS: [u32; 4] = [1000, 2000, 3000, 4000];
/// An ordinary port, and others for rules that name it.
const PORTS: [u16; 5] = [9080, 8080, 7070, 6060, 5050];

/// The values of one family that rules name, beside one each that they do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Constants {
    /// Destination ports; what they do not name is first.
    pub ports: Vec<u16>,
    /// Users; one that is not named is first, root is always there.
    pub uids: Vec<u32>,
    /// Groups, likewise.
    pub gids: Vec<u32>,
    /// Marks a socket can have; 0 is first.
    pub marks: Vec<u32>,
    /// Source ports.
    pub source_ports: BTreeSet<u16>,
    /// Whether the state of a connection is asked for.
    pub states: bool,
    /// Networks by source.
    pub sources: BTreeSet<IpNet>,
    /// Networks by destination.
    pub destinations: BTreeSet<IpNet>,
    /// Ports where a flow may end.
    pub landings: BTreeSet<u16>,
    /// Interfaces beside `lo` and the pod's own that packets may come in or leave by.
    pub interfaces: BTreeSet<String>,
    /// Whether packets pass through the pod: rules ask about such, or about what comes in by another interface, behind
    /// which there is a virtual machine or a container.
    pub forwards: bool,
}

/// The interface that packets pass to and from, where rules are about such and name none.
const ANOTHER: &str = "net0";

#[derive(Default)]
struct Found {
    ports: BTreeSet<u16>,
    ranges: Vec<PortRange>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
    marks: BTreeSet<u32>,
    source_ports: BTreeSet<u16>,
    states: bool,
    sources: BTreeSet<IpNet>,
    destinations: BTreeSet<IpNet>,
    landings: BTreeSet<u16>,
    interfaces: BTreeSet<String>,
    forwards: bool,
}

impl Constants {
    /// Of all subjects together, so that a flow that tells one of them apart is a flow of each.
    pub fn of(subjects: &[&Subject], family: Family) -> Self {
        let mut found = Found::default();
        for subject in subjects {
            found
                .marks
                .extend(subject.marks(family).iter().map(|it| it.value));
            if let Some(set) = subject.rules(family) {
                found.set(set);
            }
            // Of both families: an interface has one number.
            for set in subject.sets() {
                found.interfaces(set);
            }
        }
        if found.forwards && found.interfaces.is_empty() {
            found.interfaces.insert(ANOTHER.to_owned());
        }
        let named = |port: u16| {
            found
                .ranges
                .iter()
                .any(|it| !is_all(*it) && it.contains(port))
        };
        let plain = PORTS.into_iter().find(|it| !named(*it)).unwrap_or(PORTS[0]);
        let app = |ids: &BTreeSet<u32>| {
            APPS.into_iter()
                .find(|it| !ids.contains(it))
                .unwrap_or(APPS[0])
        };
        let owners = |ids: &BTreeSet<u32>| {
            let mut all = vec![app(ids)];
            all.extend(ids.iter().copied().chain((!ids.contains(&0)).then_some(0)));
            all
        };
        let mut marks = vec![0];
        marks.extend(found.marks.iter().copied().filter(|it| *it != 0));
        let mut ports = vec![plain];
        ports.extend(found.ports.iter().copied().filter(|it| *it != plain));
        Self {
            ports,
            uids: owners(&found.uids),
            gids: owners(&found.gids),
            marks,
            source_ports: found.source_ports,
            states: found.states,
            sources: found.sources,
            destinations: found.destinations,
            landings: found.landings,
            interfaces: found.interfaces,
            forwards: found.forwards,
        }
    }
}

/// Ports of a range that is no choice at all.
fn is_all(range: PortRange) -> bool {
    range.first() <= 1 && range.last() == u16::MAX
}

impl Found {
    fn set(&mut self, set: &RuleSet) {
        for (_, rule) in set.tables.keys().flat_map(|table| set.rules(*table)) {
            self.rule(rule);
        }
    }

    fn interfaces(&mut self, set: &RuleSet) {
        for (id, rule) in set.tables.keys().flat_map(|table| set.rules(*table)) {
            let Matches {
                in_interface,
                out_interface,
                ..
            } = &rule.spec.matches;
            let comes_in = in_interface.as_ref().and_then(|it| named(&it.value));
            self.forwards |= comes_in.is_some() || id.chain == Hook::Forward.chain();
            let both = [in_interface, out_interface].into_iter().flatten();
            self.interfaces
                .extend(both.filter_map(|it| named(&it.value)));
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let matches = &rule.spec.matches;
        self.sources
            .extend(matches.source.as_ref().map(|it| it.value));
        self.destinations
            .extend(matches.destination.as_ref().map(|it| it.value));
        for condition in matches.extensions() {
            match condition {
                Match::DestinationPort(it) => self.range(it.value),
                Match::SourcePort(it) => self.source_range(it.value),
                Match::Ports { end, ports } => {
                    for range in &ports.value {
                        match end {
                            Some(End::Source) => self.source_range(*range),
                            Some(End::Destination) => self.range(*range),
                            None => {
                                self.source_range(*range);
                                self.range(*range);
                            }
                        }
                    }
                }
                Match::CtState(_) => self.states = true,
                Match::OwnerUid(it) => self.uids.extend(ids(&it.value)),
                Match::OwnerGid(it) => self.gids.extend(ids(&it.value)),
                Match::Mark(it) => self.mark(it.value),
                _ => {}
            }
        }
        match &rule.spec.target {
            Target::Redirect { ports: Some(ports) } => self.landing(*ports),
            Target::Dnat(NatRange {
                ports: Some(ports), ..
            }) => self.landing(*ports),
            Target::Tproxy { port, .. } => self.landing(PortRange::one(*port)),
            _ => {}
        }
    }

    fn mark(&mut self, mark: MarkValue) {
        self.marks.insert(mark.value);
    }

    fn landing(&mut self, ports: PortRange) {
        self.landings.extend([ports.first(), ports.last()]);
        self.range(ports);
    }

    fn source_range(&mut self, ports: PortRange) {
        let edges = [ports.first(), ports.last()];
        self.source_ports
            .extend(edges.into_iter().filter(|it| *it != 0));
    }

    fn range(&mut self, ports: PortRange) {
        self.ranges.push(ports);
        let edges = [ports.first(), ports.last()];
        self.ports.extend(edges.into_iter().filter(|it| *it != 0));
    }
}

/// An interface of this name, or of this prefix, where it is none that every pod has.
fn named(interface: &Interface) -> Option<String> {
    if interface.matches("lo") || interface.matches(INTERFACE) {
        return None;
    }
    Some(match interface.as_str().strip_suffix('+') {
        Some(prefix) => format!("{prefix}0"),
        None => interface.as_str().to_owned(),
    })
}

fn ids(owner: &OwnerId) -> Vec<u32> {
    match owner {
        OwnerId::Name(_) => Vec::new(),
        OwnerId::Range { first, last } => vec![*first, *last],
    }
}

/// An address in the network, and those around its ends: first and last inside, first outside on either side.
pub(super) fn edges(network: IpNet) -> (IpAddr, Vec<IpAddr>) {
    let (first, last) = (network.network(), network.broadcast());
    let inside = match network.prefix_len() == network.max_prefix_len() {
        true => first,
        false => step(first, 1).unwrap_or(first),
    };
    let around = [Some(first), Some(last), step(first, -1), step(last, 1)];
    let mut around: Vec<IpAddr> = around.into_iter().flatten().collect();
    around.retain(|it| *it != inside);
    around.dedup();
    (inside, around)
}

fn step(address: IpAddr, by: i8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => {
            let next = u32::from(it).checked_add_signed(by.into())?;
            Some(IpAddr::V4(next.into()))
        }
        IpAddr::V6(it) => {
            let next = u128::from(it).checked_add_signed(by.into())?;
            Some(IpAddr::V6(next.into()))
        }
    }
}

/// Whether a flow can go to or come from the address: no broadcast, multicast or unspecified one, and of 127.0.0.0/8
/// neither end, which the kernel takes for a broadcast. To Linux 169.254.0.0/16 is a network like others; a mesh marks a
/// node's health checks with an address of it. `fe80::/10` belongs to a link.
pub(super) fn is_usable(address: IpAddr, stage: &Stage) -> bool {
    let special = address.is_unspecified() || address.is_multicast();
    let reserved = match address {
        IpAddr::V4(it) => {
            let [first, .., last] = it.octets();
            let end = first == 127 && matches!(last, 0 | 255);
            it.is_broadcast() || first == 0 || first >= 240 || end
        }
        IpAddr::V6(it) => it.is_unicast_link_local() || it.to_ipv4_mapped().is_some(),
    };
    let family = Family::of(address);
    !special && !reserved && !is_of_link(address, stage.pod(family))
}

/// Addresses of the link between pod and peer that nobody has.
fn is_of_link(address: IpAddr, pod: IpAddr) -> bool {
    match (address, pod) {
        (IpAddr::V4(it), IpAddr::V4(pod)) => {
            it.octets()[..3] == pod.octets()[..3] && !matches!(it.octets()[3], 2 | 3)
        }
        (IpAddr::V6(it), IpAddr::V6(pod)) => {
            it.segments()[..4] == pod.segments()[..4] && !matches!(it.segments()[7], 2 | 3)
        }
        _ => false,
    }
}
