//! The table of our own that makes the kernel tell: what is in it, as netlink messages. Pure.
//!
//! Two chains mark the packets to be traced, before anything else sees them; empty chains ("beacons") around nat at
//! each hook show the packet there, also to those who are never asked by a rule. All accept: a filter chain's accept
//! ends that chain only. No chain is of type nat, none changes a packet, and conntrack is mentioned only where it is
//! in use anyway, since mentioning it would switch it on.

use std::net::IpAddr;

use hoplab_proxies::record::Transport;

use super::{
    Hook, Packets, Selection, TableFamily,
    expression::{self, Expressions, Half},
    wire::Attributes,
};

/// What our own log rule writes.
pub(crate) const OWNER_PREFIX: &str = "hoplab-owner";
/// Between the name of a base chain and the number of a stage of its choice.
const STAGE: &str = "-stage-";
/// Bytes of a packet that are logged: IPv6 and TCP header with room for options.
pub(crate) const LOGGED_BYTES: u32 = 128;
/// Where the marking chains stand: after defragmentation (-400), before raw (-300).
pub(crate) const MARK_PRIORITY: i32 = -350;

// Message types of nftables, from linux/netfilter/nf_tables.h.
pub(crate) const NEW_TABLE: u8 = 0;
pub(crate) const DELETE_TABLE: u8 = 2;
pub(crate) const NEW_CHAIN: u8 = 3;
pub(crate) const NEW_RULE: u8 = 6;
/// The table lives as long as the socket that made it, and nobody else may change it (NFT_TABLE_F_OWNER).
const FLAG_OWNER: u32 = 2;

/// Beacons: after conntrack and before nat, and after nat. Priorities from linux/netfilter_ipv4.h: conntrack -200, nat
/// -100 (destination) and 100 (source), security 50, helpers 300.
const BEACONS: [(Hook, i32); 7] = [
    (Hook::Prerouting, -199),
    (Hook::Prerouting, 300),
    (Hook::Input, 300),
    (Hook::Forward, 300),
    (Hook::Output, -199),
    (Hook::Output, 300),
    (Hook::Postrouting, 350),
];

/// One message of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub kind: u8,
    pub family: u8,
    pub attributes: Attributes,
}

/// The table to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observers<'a> {
    pub table: &'a str,
    /// Log group that tells the sockets' owners.
    pub group: u16,
    pub selection: &'a Selection,
    /// Whether conntrack is in use in this namespace.
    pub conntrack: bool,
}

impl Observers<'_> {
    /// Everything, in the order the kernel wants it: a chain before the rules in it and the jumps to it.
    pub fn orders(&self) -> Vec<Order> {
        let table = Attributes::new().text(1, self.table).be32(2, FLAG_OWNER);
        let mut orders = vec![order(NEW_TABLE, table)];
        for hook in [Hook::Prerouting, Hook::Output] {
            let name = chain_name(hook, MARK_PRIORITY);
            orders.push(self.base_chain(&name, hook, MARK_PRIORITY));
            let choice = [self.addresses(), self.ports(), self.packets()];
            self.choose(&mut orders, &name, &choice, &self.actions(hook));
        }
        for (hook, priority) in BEACONS {
            let name = chain_name(hook, priority);
            orders.push(self.base_chain(&name, hook, priority));
            // The answer of a redirected connection has other ports and addresses than those that were asked for.
            if priority == -199 && self.conntrack && self.selection.is_filtered() {
                let choice = [
                    self.original_addresses(),
                    self.original_ports(),
                    self.packets(),
                ];
                self.choose(&mut orders, &name, &choice, &self.actions(hook));
            }
        }
        orders
    }

    /// The end of it all.
    pub fn removal(table: &str) -> Order {
        order(DELETE_TABLE, Attributes::new().text(1, table))
    }

    fn base_chain(&self, name: &str, hook: Hook, priority: i32) -> Order {
        let place = Attributes::new().be32(1, hook.number().into());
        let chain = Attributes::new().text(1, self.table).text(3, name);
        let chain = chain.nested(4, place.be32(2, priority as u32));
        order(NEW_CHAIN, chain.text(7, "filter"))
    }

    /// Rules that do `actions` with a packet that matches one alternative of each stage; a stage without
    /// alternatives lets all through. Stages after the first are chains of their own.
    fn choose(
        &self,
        orders: &mut Vec<Order>,
        base: &str,
        stages: &[Vec<Expressions>],
        actions: &Expressions,
    ) {
        let stages: Vec<_> = stages.iter().filter(|stage| !stage.is_empty()).collect();
        let name = |n: usize| match n {
            0 => base.to_owned(),
            n => format!("{base}{STAGE}{n}"),
        };
        for n in 1..stages.len() {
            let chain = Attributes::new().text(1, self.table).text(3, &name(n));
            orders.push(order(NEW_CHAIN, chain));
        }
        for (n, stage) in stages.iter().enumerate() {
            let last = n + 1 == stages.len();
            let next = if last {
                actions.clone()
            } else {
                expression::goto(&name(n + 1))
            };
            for alternative in *stage {
                orders.push(self.rule(&name(n), alternative.iter().chain(&next)));
            }
        }
        if stages.is_empty() {
            orders.push(self.rule(base, actions.iter()));
        }
    }

    fn rule<'x>(&self, chain: &str, expressions: impl Iterator<Item = &'x Attributes>) -> Order {
        const ELEMENT: u16 = 1;
        let list = expressions.fold(Attributes::new(), |list, it| {
            list.nested(ELEMENT, it.clone())
        });
        let rule = Attributes::new().text(1, self.table).text(2, chain);
        order(NEW_RULE, rule.nested(4, list))
    }

    fn actions(&self, hook: Hook) -> Expressions {
        let mut actions = expression::trace();
        if hook == Hook::Output {
            actions.extend(expression::log(self.group, OWNER_PREFIX, LOGGED_BYTES));
        }
        actions.extend(expression::accept());
        actions
    }

    fn addresses(&self) -> Vec<Expressions> {
        let addresses = self.selection.addresses.iter();
        let both = addresses.flat_map(|address| match address {
            IpAddr::V4(it) => [12, 16].map(|at| (*address, at, it.octets().to_vec())),
            IpAddr::V6(it) => [8, 24].map(|at| (*address, at, it.octets().to_vec())),
        });
        let alternatives = both.map(|(address, at, octets)| {
            let bytes = expression::network_bytes(at, &octets);
            [of_family(address), bytes].concat()
        });
        alternatives.collect()
    }

    fn ports(&self) -> Vec<Expressions> {
        let ports = self.selection.ports.iter();
        ports
            .flat_map(|port| [0, 2].map(|at| expression::transport_bytes(at, &port.to_be_bytes())))
            .collect()
    }

    fn original_addresses(&self) -> Vec<Expressions> {
        let addresses = self.selection.addresses.iter();
        let both = addresses.flat_map(|address| {
            [Half::Source, Half::Destination].map(|half| {
                let matches = expression::original_address(half, *address);
                [of_family(*address), matches].concat()
            })
        });
        both.collect()
    }

    fn original_ports(&self) -> Vec<Expressions> {
        let ports = self.selection.ports.iter();
        ports
            .flat_map(|port| {
                [Half::Source, Half::Destination].map(|half| expression::original_port(half, *port))
            })
            .collect()
    }

    fn packets(&self) -> Vec<Expressions> {
        const SYN: u8 = 0x02;
        const RST: u8 = 0x04;
        const ACK: u8 = 0x10;
        let Selection {
            packets,
            protocols,
            ports,
            ..
        } = self.selection;
        let all = *packets == Packets::All;
        // Only TCP and UDP have ports.
        if all && protocols.is_empty() && ports.is_empty() {
            return Vec::new();
        }
        let wanted = |it| protocols.is_empty() || protocols.contains(&it);
        let mut alternatives = Vec::new();
        if wanted(Transport::Tcp) {
            let tcp = |more: Expressions| [expression::is_protocol(6), more].concat();
            let alone = |bit| tcp(expression::transport_flags(13, bit | ACK, bit));
            match packets {
                Packets::All => alternatives.push(tcp(Vec::new())),
                Packets::FirstAndReply => {
                    alternatives.push(tcp(expression::transport_bits(13, SYN | RST)));
                }
                Packets::First => alternatives.extend([alone(SYN), alone(RST)]),
            }
        }
        if wanted(Transport::Udp) {
            alternatives.push(expression::is_protocol(17));
            if ports.is_empty() && *packets != Packets::First {
                for (protocol, unreachable) in [(1, 3), (58, 1)] {
                    let mut icmp = expression::is_protocol(protocol);
                    icmp.extend(expression::transport_bytes(0, &[unreachable]));
                    alternatives.push(icmp);
                }
            }
        }
        alternatives
    }
}

/// The base chain of ours that a chain of ours belongs to.
pub(crate) fn base_of(chain: &str) -> &str {
    chain.split_once(STAGE).map_or(chain, |(base, _)| base)
}

/// Name of the base chain of ours at a hook.
fn chain_name(hook: Hook, priority: i32) -> String {
    let hook = hook.chain().to_lowercase();
    match priority {
        MARK_PRIORITY => format!("mark-{hook}"),
        priority if priority < 0 => format!("{hook}-before-nat"),
        _ => format!("{hook}-after-nat"),
    }
}

fn of_family(address: IpAddr) -> Expressions {
    let family = if address.is_ipv4() {
        TableFamily::Ip
    } else {
        TableFamily::Ip6
    };
    expression::is_family(family.number())
}

fn order(kind: u8, attributes: Attributes) -> Order {
    Order {
        kind,
        family: TableFamily::Inet.number(),
        attributes,
    }
}
