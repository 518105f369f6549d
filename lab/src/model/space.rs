//! The packets worth asking a rule set about: one of every kind its own constants tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::packet::{Hook, Packet};
use crate::rules::{End, Family, Match, OwnerId, PortRange, RuleSet, Table, Target};

/// The addresses that are not in the rules: which are the pod's own decides the interface a packet leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodAddresses {
    /// The pod's own address, on `eth0`.
    pub pod: IpAddr,
    /// An address of another machine.
    pub other: IpAddr,
}

/// Every combination of the ports, users, groups and addresses a table names, each with a neighbour it does not
/// name, as TCP and UDP packets that come in by `eth0`, come in by `lo`, or are sent by the pod.
///
/// Only packets a machine can have: an address of this machine (the pod's, or loopback) is reached by `lo`, any
/// other by `eth0`; loopback is never seen on `eth0`; a packet that comes in has no owner. Rules that do not tell two
/// packets of this list apart, tell no two packets apart by what is modelled, source ports and marks excepted.
pub fn interesting_packets(
    rules: &RuleSet,
    table: Table,
    addresses: PodAddresses,
) -> Vec<(Hook, Packet)> {
    let named = Named::collect(rules, table, addresses);
    let local = |address: IpAddr| address == addresses.pod || is_loopback(address);
    let mut packets = Vec::new();
    for (source, destination) in named.pairs() {
        for port in &named.ports {
            let (src, dst) = (
                SocketAddr::new(source, 40_000),
                SocketAddr::new(destination, *port),
            );
            for packet in [Packet::tcp(src, dst), Packet::udp(src, dst)] {
                let outside = !local(source) && !is_loopback(destination);
                if outside {
                    packets.push((Hook::Prerouting, packet.clone().coming_in("eth0")));
                }
                if !local(source) {
                    continue;
                }
                let out = if local(destination) { "lo" } else { "eth0" };
                if out == "eth0" && is_loopback(source) {
                    continue;
                }
                if out == "lo" {
                    packets.push((Hook::Prerouting, packet.clone().coming_in("lo")));
                }
                let sent = packet.leaving_by(out);
                for (uid, gid) in named.owners() {
                    packets.push((Hook::Output, sent.clone().owned_by(uid, gid)));
                }
                packets.push((Hook::Output, sent));
            }
        }
    }
    packets
}

/// What reaches this machine by `lo` without being its interface's address: 127.0.0.0/8, and Istio's `::6`, which
/// istio-init puts on `lo` (ISTIO-RULES 1.4).
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.segments() == [0, 0, 0, 0, 0, 0, 0, 6]
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
