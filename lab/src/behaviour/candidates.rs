//! Flows that could tell rule sets apart: every combination of what they name, and what lies next to it.

use std::net::{IpAddr, SocketAddr};

use super::constants::{Constants, edges, is_usable};
use super::flow::{Flow, Origin};
use super::stage::{INTERFACE, Stage};
use super::subject::Subject;
use crate::rules::{Family, Protocol};

/// Combinations before it is too many to try: a pod's rules have hundreds to thousands, a node's many millions.
const MOST: usize = 100_000;

/// The flows of one family.
pub(super) struct Space {
    constants: Constants,
    stage: Stage,
    family: Family,
    sources: Vec<(IpAddr, Vec<IpAddr>)>,
    destinations: Vec<(IpAddr, Vec<IpAddr>)>,
}

/// Every combination of the values that the rules of these subjects name, with one value each that they do not, in the
/// order of how ordinary they are. `None` when they are too many.
pub fn candidates(subjects: &[&Subject], stage: &Stage, family: Family) -> Option<Vec<Flow>> {
    Space::new(subjects, stage, family).flows()
}

impl Space {
    pub fn new(subjects: &[&Subject], stage: &Stage, family: Family) -> Self {
        let constants = Constants::of(subjects, family);
        let near = |networks: &std::collections::BTreeSet<ipnet::IpNet>| {
            let of_family = networks.iter().filter(|it| Family::of(it.addr()) == family);
            let real = of_family.filter(|it| it.prefix_len() != 0);
            real.map(|it| edges(*it)).collect::<Vec<_>>()
        };
        let (sources, destinations) = (near(&constants.sources), near(&constants.destinations));
        Self {
            constants,
            stage: *stage,
            family,
            sources,
            destinations,
        }
    }

    /// The combinations.
    pub fn flows(&self) -> Option<Vec<Flow>> {
        let mut flows = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (origin, source, to) in self.ends() {
                let ordinary = |port| Flow {
                    protocol,
                    origin: origin.clone(),
                    source,
                    source_port: None,
                    stray: false,
                    leaves: self.leaves(to),
                    to: SocketAddr::new(to, port),
                };
                if flows.len() >= MOST {
                    return None;
                }
                flows.extend(self.constants.ports.iter().map(|port| ordinary(*port)));
                // Not for each port too: who asks for both ends of a connection, or for its state, seldom does that.
                let plain = self.constants.ports.first().map(|port| ordinary(*port));
                flows.extend(plain.iter().flat_map(|it| self.unusual(it)));
            }
        }
        Some(flows)
    }

    /// The flow from each source port that is named, and as a stray.
    fn unusual(&self, flow: &Flow) -> Vec<Flow> {
        let ports = self.constants.source_ports.iter();
        let mut flows: Vec<Flow> = ports
            .map(|port| Flow {
                source_port: Some(*port),
                ..flow.clone()
            })
            .collect();
        flows.extend(self.constants.states.then(|| Flow {
            stray: true,
            ..flow.clone()
        }));
        flows.retain(|it| self.is_possible(it));
        flows
    }

    /// Ports that a socket has to listen at, so that nothing is refused for want of one.
    pub fn landings(&self) -> impl Iterator<Item = u16> {
        self.constants.landings.iter().copied()
    }

    /// Who, from where, to which address.
    fn ends(&self) -> Vec<(Origin, IpAddr, IpAddr)> {
        let (pod, peer) = (self.stage.pod(self.family), self.stage.peer(self.family));
        let outside = Origin::Outside {
            interface: INTERFACE.to_owned(),
        };
        let mut ends = vec![(outside.clone(), peer, pod)];
        for source in self.named(&self.sources) {
            if self.is_foreign(source) && source != peer {
                ends.push((outside.clone(), source, pod));
            }
        }
        for (address, interface) in self.beyond() {
            let origin = Origin::Outside {
                interface: interface.to_owned(),
            };
            ends.push((origin, address, pod));
        }
        ends.extend(self.forwarded());
        let mut destinations = vec![peer, pod, self.loopback()];
        destinations.extend(self.named(&self.destinations));
        destinations.extend(self.beyond().map(|(address, _)| address));
        dedup(&mut destinations);
        for to in destinations {
            for source in self.sources_to(to) {
                for origin in self.owners(source) {
                    ends.push((origin, source, to));
                }
            }
        }
        ends
    }

    /// What passes through the pod: from behind another interface to other machines, and back.
    fn forwarded(&self) -> Vec<(Origin, IpAddr, IpAddr)> {
        let peer = self.stage.peer(self.family);
        let come_in = |interface: &str| Origin::Outside {
            interface: interface.to_owned(),
        };
        let mut ends = Vec::new();
        for (address, interface) in self.beyond() {
            let mut to = vec![peer];
            to.extend(self.named(&self.destinations));
            to.extend(self.beyond().map(|(address, _)| address));
            dedup(&mut to);
            to.retain(|it| self.passes(interface, *it));
            ends.extend(to.into_iter().map(|to| (come_in(interface), address, to)));
            if self.passes(INTERFACE, address) {
                ends.push((come_in(INTERFACE), peer, address));
            }
        }
        ends
    }

    /// Whether what comes in by an interface leaves by another one.
    fn passes(&self, interface: &str, to: IpAddr) -> bool {
        let by = self.leaves(to);
        let by = by.as_deref().unwrap_or(INTERFACE);
        self.constants.forwards && self.is_foreign(to) && by != interface
    }

    /// Processes. Who sends from another machine's address is a proxy that marks what it sends.
    fn owners(&self, source: IpAddr) -> Vec<Origin> {
        let spoofed = self.is_foreign(source);
        let mut owners = Vec::new();
        for mark in &self.constants.marks {
            if spoofed && *mark == 0 {
                continue;
            }
            for uid in &self.constants.uids {
                for gid in &self.constants.gids {
                    let (uid, gid, mark) = (*uid, *gid, *mark);
                    owners.push(Origin::Pod { uid, gid, mark });
                }
            }
        }
        owners
    }

    /// Addresses that a process of the pod can send from to there: the one routing picks first.
    fn sources_to(&self, to: IpAddr) -> Vec<IpAddr> {
        let (pod, peer) = (self.stage.pod(self.family), self.stage.peer(self.family));
        let first = if self.is_on_loopback(to) {
            self.loopback()
        } else {
            pod
        };
        let mut sources = vec![first];
        if to == pod || self.is_on_loopback(to) {
            let named = self.named(&self.sources).into_iter();
            sources.extend(named.filter(|it| self.is_on_loopback(*it)));
        }
        if to == pod && self.constants.marks.len() > 1 {
            sources.push(peer);
        }
        dedup(&mut sources);
        sources
    }

    /// The one machine behind each other interface.
    fn beyond(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        let numbered = (0..).zip(&self.constants.interfaces);
        numbered.map(|(number, it)| (Stage::beyond(number, self.family).0, it.as_str()))
    }

    /// The other interface that leads to an address, if one does.
    fn leaves(&self, to: IpAddr) -> Option<String> {
        let found = self.beyond().find(|(address, _)| *address == to);
        found.map(|(_, interface)| interface.to_owned())
    }

    fn named(&self, networks: &[(IpAddr, Vec<IpAddr>)]) -> Vec<IpAddr> {
        let inside = networks.iter().map(|(inside, _)| *inside);
        inside.filter(|it| is_usable(*it, &self.stage)).collect()
    }

    fn loopback(&self) -> IpAddr {
        match self.family {
            Family::V4 => IpAddr::from([127, 0, 0, 1]),
            Family::V6 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        }
    }

    /// 127.0.0.0/8; of IPv6 `::1`, and the `::6` that meshes put on `lo`.
    fn is_on_loopback(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(it) => it.is_loopback(),
            IpAddr::V6(it) => it.is_loopback() || it.segments() == [0, 0, 0, 0, 0, 0, 0, 6],
        }
    }

    fn is_foreign(&self, address: IpAddr) -> bool {
        address != self.stage.pod(self.family) && !self.is_on_loopback(address)
    }

    /// The flows beside this one: one of its values replaced by what lies at the edge of something that rules name.
    pub fn around(&self, flow: &Flow) -> Vec<Flow> {
        let mut flows = Vec::new();
        for port in beside(self.constants.ports.iter().map(|it| u32::from(*it))) {
            let mut to = flow.to;
            to.set_port(u16::try_from(port).unwrap_or(0));
            flows.push(Flow { to, ..flow.clone() });
        }
        for address in self.destinations.iter().flat_map(|(_, around)| around) {
            let mut to = flow.to;
            to.set_ip(*address);
            let leaves = self.leaves(*address);
            let kept = !flow.is_sent_by_pod() || self.sources_to(*address).contains(&flow.source);
            let source = match kept {
                true => flow.source,
                false => self.sources_to(*address)[0],
            };
            flows.push(Flow {
                to,
                source,
                leaves,
                ..flow.clone()
            });
        }
        for source in self.sources.iter().flat_map(|(_, around)| around) {
            flows.push(Flow {
                source: *source,
                ..flow.clone()
            });
        }
        flows.extend(self.unusual(flow));
        let named = self.constants.source_ports.iter().copied().map(u32::from);
        let near = beside(named).filter_map(|it| u16::try_from(it).ok());
        flows.extend(near.map(|port| Flow {
            source_port: Some(port),
            ..flow.clone()
        }));
        if let Origin::Pod { uid, gid, mark } = flow.origin {
            let mut push = |uid, gid, mark| {
                let origin = Origin::Pod { uid, gid, mark };
                flows.push(Flow {
                    origin,
                    ..flow.clone()
                });
            };
            for uid in beside(self.constants.uids.iter().copied()) {
                push(uid, gid, mark);
            }
            for gid in beside(self.constants.gids.iter().copied()) {
                push(uid, gid, mark);
            }
            if mark != 0 {
                push(uid, gid, mark ^ 1);
            }
        }
        flows.retain(|it| self.is_possible(it));
        flows
    }

    /// Whether a machine can send it that way.
    fn is_possible(&self, flow: &Flow) -> bool {
        let pod = self.stage.pod(self.family);
        let usable = |it| is_usable(it, &self.stage);
        let to = flow.to.ip();
        // A socket that listens at a port keeps connections from being opened from it.
        let taken = |port: u16| self.constants.landings.contains(&port) || port == flow.to.port();
        let itself = |port: u16| flow.to == SocketAddr::new(flow.source, port);
        let kept = |port: u16| (flow.protocol != Protocol::Udp && taken(port)) || itself(port);
        flow.to.port() != 0
            && !flow.source_port.is_some_and(|it| it == 0 || kept(it))
            && (!flow.stray || flow.protocol == Protocol::Tcp)
            && usable(to)
            && usable(flow.source)
            && match &flow.origin {
                // Behind another interface there is one machine.
                Origin::Outside { interface } => {
                    let behind = self.beyond().find(|(_, it)| it == interface);
                    let from = match behind {
                        Some((address, _)) => flow.source == address,
                        None => self.is_foreign(flow.source),
                    };
                    from && flow.leaves == self.leaves(to)
                        && (to == pod || self.passes(interface, to))
                }
                // Ids that every user namespace maps, and none that means "no change".
                Origin::Pod { uid, gid, .. } if *uid > 65_534 || *gid > 65_534 => false,
                Origin::Pod { mark, .. } => match flow.source {
                    source if self.is_on_loopback(source) => to == pod || self.is_on_loopback(to),
                    source if source == pod => true,
                    _ => to == pod && *mark != 0,
                },
            }
    }
}

/// The numbers before and after each.
fn beside(numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    numbers.flat_map(|it| [it.checked_sub(1), it.checked_add(1)].into_iter().flatten())
}

fn dedup(addresses: &mut Vec<IpAddr>) {
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|it| seen.insert(*it));
}
