//! Where flows are played: the addresses of the pod and of everything that is not the pod.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::rules::{Family, RuleSet};

/// The pod's one interface besides `lo`.
pub const INTERFACE: &str = "eth0";

/// Addresses that are in no rule: whether a packet is for the pod decides the interface it leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    v4: Pair,
    v6: Pair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    pod: IpAddr,
    peer: IpAddr,
}

/// Networks for documentation and tests (RFC 5737, RFC 3849, RFC 2544), and shared address space (RFC 6598).
const V4: [[u8; 3]; 5] = [
    [192, 0, 2],
    [198, 51, 100],
    [203, 0, 113],
    [198, 18, 0],
    [100, 64, 0],
];
const V6: [u16; 3] = [0, 1, 2];

impl Stage {
    /// The first addresses for documentation that no rule names, so that no flow is about the pod by accident.
    pub fn away_from<'a>(sets: impl IntoIterator<Item = &'a RuleSet>) -> Self {
        let mut named: Vec<IpNet> = Vec::new();
        for set in sets {
            for (_, rule) in set.tables.keys().flat_map(|table| set.rules(*table)) {
                let matches = &rule.spec.matches;
                let both = [&matches.source, &matches.destination]
                    .into_iter()
                    .flatten();
                named.extend(both.map(|it| it.value).filter(|it| it.prefix_len() != 0));
            }
        }
        let free = |pair: &Pair| {
            let hits = |it: &IpNet| it.contains(&pair.pod) || it.contains(&pair.peer);
            !named.iter().any(hits)
        };
        let pick = |pairs: Vec<Pair>| pairs.iter().copied().find(free).unwrap_or(pairs[0]);
        Self {
            v4: pick(V4.into_iter().map(|[a, b, c]| pair_v4(a, b, c)).collect()),
            v6: pick(V6.into_iter().map(pair_v6).collect()),
        }
    }

    /// The same with another address for the pod, as when rules name it.
    #[must_use]
    pub fn with_pod(mut self, address: IpAddr) -> Self {
        self.pair_mut(Family::of(address)).pod = address;
        self
    }

    /// The same with another address for the other machine.
    #[must_use]
    pub fn with_peer(mut self, address: IpAddr) -> Self {
        self.pair_mut(Family::of(address)).peer = address;
        self
    }

    /// The pod's address.
    pub fn pod(&self, family: Family) -> IpAddr {
        self.pair(family).pod
    }

    /// An address of another machine, the gateway to all others.
    pub fn peer(&self, family: Family) -> IpAddr {
        self.pair(family).peer
    }

    /// The one machine behind another interface of the pod, by number of the interface, and the pod's address there.
    /// Flows from it come in by that interface, and their answers leave by it (RFC 2544, RFC 3849).
    pub fn beyond(number: u8, family: Family) -> (IpAddr, IpAddr) {
        let host = |last| match family {
            Family::V4 => IpAddr::from([198, 19, number, last]),
            Family::V6 => IpAddr::from([
                0x2001,
                0xdb8,
                0xff00 + u16::from(number),
                0,
                0,
                0,
                0,
                u16::from(last),
            ]),
        };
        (host(3), host(2))
    }

    /// The number of the interface that flows from this address come in by.
    pub fn number_beyond(source: IpAddr) -> u8 {
        match source {
            IpAddr::V4(it) => it.octets()[2],
            IpAddr::V6(it) => it.segments()[2].to_be_bytes()[1],
        }
    }

    fn pair(&self, family: Family) -> Pair {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    fn pair_mut(&mut self, family: Family) -> &mut Pair {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

fn pair_v4(a: u8, b: u8, c: u8) -> Pair {
    Pair {
        pod: IpAddr::from([a, b, c, 2]),
        peer: IpAddr::from([a, b, c, 3]),
    }
}

fn pair_v6(net: u16) -> Pair {
    let host = |last| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, last]);
    Pair {
        pod: host(2),
        peer: host(3),
    }
}
