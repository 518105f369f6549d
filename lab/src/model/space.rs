//! The packets worth asking a rule set about: one of every kind its own constants tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::landing::is_loopback;
use super::packet::Packet;
use crate::rules::Hook;
use crate::rules::{End, Family, Match, OwnerId, PortRange, RuleSet, Table, Target};

/// The addresses that are not in the rules: which are the pod's own decides the interface a packet leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodAddresses {
    /// The pod's own address, on `eth0`.
    pub pod: IpAddr,
    /// An address of another machine.
    pub other: IpAddr,
}

/// Packets of a table before it is too many to try them all: a rule set of a pod has thousands, that of a node with
/// a thousand services has many millions.
const MOST_PACKETS: usize = 200_000;

/// Every combination of the ports, users, groups and addresses a table names, each with a neighbour it does not
/// name, as TCP and UDP packets at every hook where the table has rules. `None` when they are too many.
///
/// First packets a machine can have: an address of this machine (the pod's, or loopback) is reached by `lo`, any
/// other by `eth0`; loopback is never seen on `eth0`; a packet that comes in has no owner. nat sees no others. The
/// other tables also see what nat or a mark turned, so for them every address comes with every interface. Rules that
/// do not tell two packets of this list apart, tell no two packets apart by what is modelled, source ports and marks
/// excepted.
pub fn interesting_packets(
    rules: &RuleSet,
    table: Table,
    addresses: PodAddresses,
) -> Option<Vec<(Hook, Packet)>> {
    let Some(chains) = rules.tables.get(&table) else {
        return Some(Vec::new());
    };
    let has_rules = |hook: &Hook| {
        chains
            .chain(hook.chain())
            .is_some_and(|it| !it.rules.is_empty())
    };
    let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(has_rules).collect();
    let named = Named::collect(rules, table, addresses);
    if named.combinations() > MOST_PACKETS {
        return None;
    }
    let mut space = Space {
        named,
        hooks,
        addresses,
        packets: Vec::new(),
    };
    space.each(Space::possible);
    if table != Table::Nat {
        space.each(Space::any);
    }
    Some(space.packets)
}

struct Space {
    named: Named,
    hooks: Vec<Hook>,
    addresses: PodAddresses,
    packets: Vec<(Hook, Packet)>,
}

impl Space {
    fn each(&mut self, make: impl Fn(&mut Self, Packet)) {
        let pairs: Vec<_> = self.named.pairs().collect();
        let ports: Vec<u16> = self.named.ports.iter().copied().collect();
        for (source, destination) in pairs {
            for port in &ports {
                let (src, dst) = (
                    SocketAddr::new(source, 40_000),
                    SocketAddr::new(destination, *port),
                );
                make(self, Packet::tcp(src, dst));
                make(self, Packet::udp(src, dst));
            }
        }
    }

    fn push(&mut self, hook: Hook, packet: Packet) {
        if self.hooks.contains(&hook) {
            self.packets.push((hook, packet));
        }
    }

    /// Where a machine can have the packet.
    fn possible(&mut self, packet: Packet) {
        let pod = self.addresses.pod;
        let local = |address: IpAddr| address == pod || is_loopback(address);
        let (source, destination) = (packet.src.ip(), packet.dst.ip());
        let here = local(destination);
        if !local(source) && !is_loopback(destination) {
            self.comes_in(&packet, "eth0", here);
        }
        if !local(source) {
            return;
        }
        let out = if here { "lo" } else { "eth0" };
        if out == "eth0" && is_loopback(source) {
            return;
        }
        if out == "lo" {
            self.comes_in(&packet, "lo", true);
        }
        self.is_sent(&packet, out);
    }

    /// Everywhere.
    fn any(&mut self, packet: Packet) {
        for interface in ["eth0", "lo"] {
            self.comes_in(&packet, interface, true);
            self.comes_in(&packet, interface, false);
            self.is_sent(&packet, interface);
        }
    }

    fn comes_in(&mut self, packet: &Packet, interface: &str, here: bool) {
        let packet = packet.clone().coming_in(interface);
        self.push(Hook::Prerouting, packet.clone());
        if here {
            self.push(Hook::Input, packet);
            return;
        }
        let forwarded = packet.leaving_by("eth0");
        self.push(Hook::Forward, forwarded.clone());
        let in_iface = None;
        self.push(
            Hook::Postrouting,
            Packet {
                in_iface,
                ..forwarded
            },
        );
    }

    fn is_sent(&mut self, packet: &Packet, interface: &str) {
        let sent = packet.clone().leaving_by(interface);
        let owners: Vec<_> = self.named.owners().collect();
        for hook in [Hook::Output, Hook::Postrouting] {
            for (uid, gid) in &owners {
                self.push(hook, sent.clone().owned_by(*uid, *gid));
            }
            self.push(hook, sent.clone());
        }
    }
}

struct Named {
    ports: BTreeSet<u16>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
    addresses: BTreeSet<IpAddr>,
}

impl Named {
    fn collect(rules: &RuleSet, table: Table, addresses: PodAddresses) -> Self {
        let family = rules.family;
        let mut named = Self {
            ports: BTreeSet::from([9080]),
            uids: BTreeSet::from([1000]),
            gids: BTreeSet::from([1000]),
            addresses: BTreeSet::from([addresses.pod, addresses.other]),
        };
        for (_, rule) in rules.rules(table) {
            let matches = &rule.spec.matches;
            let networks = [&matches.source, &matches.destination]
                .into_iter()
                .flatten();
            named
                .addresses
                .extend(networks.map(|it| it.value.network()));
            for condition in matches.extensions() {
                match condition {
                    Match::DestinationPort(it) => named.range(it.value),
                    Match::Ports { end, ports } if *end != Some(End::Source) => {
                        ports.value.iter().for_each(|it| named.range(*it));
                    }
                    Match::OwnerUid(it) => named.uids.extend(around(&it.value)),
                    Match::OwnerGid(it) => named.gids.extend(around(&it.value)),
                    _ => {}
                }
            }
            if let Target::Redirect { ports: Some(ports) } = rule.spec.target {
                named.range(ports);
            }
        }
        named
            .addresses
            .retain(|address| Family::of(*address) == family && !address.is_unspecified());
        named
    }

    fn range(&mut self, ports: PortRange) {
        let (first, last) = (ports.first(), ports.last());
        self.ports
            .extend([first.saturating_sub(1), first, last, last.saturating_add(1)]);
    }

    /// How many packets they make at one hook.
    fn combinations(&self) -> usize {
        let addresses = self.addresses.len().saturating_mul(self.addresses.len());
        let owners = self.uids.len().saturating_mul(self.gids.len()) + 1;
        let each = addresses.saturating_mul(self.ports.len()).saturating_mul(2);
        each.saturating_mul(owners)
    }

    fn pairs(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let each = self.addresses.iter();
        each.flat_map(|source| {
            self.addresses
                .iter()
                .map(|destination| (*source, *destination))
        })
    }

    fn owners(&self) -> impl Iterator<Item = (u32, u32)> {
        self.uids
            .iter()
            .flat_map(|uid| self.gids.iter().map(|gid| (*uid, *gid)))
    }
}

fn around(owner: &OwnerId) -> Vec<u32> {
    match owner {
        OwnerId::Name(_) => Vec::new(),
        OwnerId::Range { first, last } => vec![
            first.saturating_sub(1),
            *first,
            *last,
            last.saturating_add(1),
        ],
    }
}
