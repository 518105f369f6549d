//! What Istio tells the kernel over netlink beside the rules: policy rules, routes, and one address.

use std::{fmt, net::Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{
    Config, InboundPorts,
    ambient::{Ambient, CONNECTION_MARK, MASK},
};
use crate::rules::Family;

/// One thing to add. Displays as the `ip` command that adds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Marked packets are routed by another table.
    Rule {
        /// Family of the packets.
        family: Family,
        /// Mark, and the bits it is in.
        mark: Mark,
        /// Preference; the kernel picks one if there is none.
        preference: Option<u32>,
        /// Routing table.
        table: u32,
    },
    /// Everything is local in this table.
    LocalRoute {
        /// Family of the packets.
        family: Family,
        /// Routing table.
        table: u32,
    },
    /// The source of passthrough calls, on `lo`. IPv4's needs no such thing, all of 127.0.0.0/8 is local; Kuma adds
    /// it all the same.
    LoopbackAddress(IpNet),
}

/// A mark, and a mask where one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// All bits.
    Whole(u32),
    /// The bits of the mask.
    Masked(u32, u32),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(mark) => write!(f, "{mark}"),
            Self::Masked(mark, mask) => write!(f, "{mark:#x}/{mask:#x}"),
        }
    }
}

impl Step {
    /// Family of the packets it is about.
    pub fn family(&self) -> Family {
        match self {
            Self::Rule { family, .. } | Self::LocalRoute { family, .. } => *family,
            Self::LoopbackAddress(IpNet::V4(_)) => Family::V4,
            Self::LoopbackAddress(IpNet::V6(_)) => Family::V6,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = |family: &Family| match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        match self {
            Self::Rule {
                family,
                mark,
                preference,
                table,
            } => {
                write!(f, "ip {} rule add fwmark {mark}", option(family))?;
                if let Some(preference) = preference {
                    write!(f, " pref {preference}")?;
                }
                write!(f, " lookup {table}")
            }
            Self::LocalRoute { family, table } => {
                let all = match family {
                    Family::V4 => "0.0.0.0/0",
                    Family::V6 => "::/0",
                };
                write!(
                    f,
                    "ip {} route add local {all} dev lo table {table}",
                    option(family)
                )
            }
            Self::LoopbackAddress(address) => {
                let option = if address.addr().is_ipv6() { "-6" } else { "-4" };
                write!(f, "ip {option} addr add {address} dev lo")
            }
        }
    }
}

/// Source of calls the proxy makes to its own pod for somebody outside, over IPv6.
const PASSTHROUGH_SOURCE: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// What a sidecar needs: an address for IPv6, and policy routing if TPROXY captures anything.
pub fn sidecar(config: &Config) -> Vec<Step> {
    let captures = config.is_tproxy() && config.inbound_ports != InboundPorts::Off;
    let (mark, table) = (
        config.inbound_tproxy_mark,
        config.inbound_tproxy_route_table,
    );
    sidecar_with(config.enable_ipv6, captures.then_some((mark, table)))
}

/// The same without a configuration: IPv6 rules or none, and mark and table of TPROXY.
pub fn sidecar_with(ipv6: bool, tproxy: Option<(u32, u32)>) -> Vec<Step> {
    let mut steps = Vec::new();
    if ipv6 {
        steps.push(Step::LoopbackAddress(IpNet::V6(Ipv6Net::from(
            PASSTHROUGH_SOURCE,
        ))));
    }
    if let Some((mark, table)) = tproxy {
        for family in families(ipv6) {
            let mark = Mark::Whole(mark);
            steps.push(Step::Rule {
                family,
                mark,
                preference: None,
                table,
            });
            steps.push(Step::LocalRoute { family, table });
        }
    }
    steps
}

/// What an ambient pod needs: replies to ztunnel's spoofed calls stay in the pod.
pub fn ambient(config: &Ambient) -> Vec<Step> {
    ambient_with(config.enable_ipv6, Mark::Masked(CONNECTION_MARK, MASK))
}

/// The same without a configuration: IPv6 rules or none, and the mark of the replies.
pub fn ambient_with(ipv6: bool, mark: Mark) -> Vec<Step> {
    const TABLE: u32 = 100;
    const PREFERENCE: u32 = 32764;
    let steps = |family| {
        let rule = Step::Rule {
            family,
            mark,
            preference: Some(PREFERENCE),
            table: TABLE,
        };
        [
            rule,
            Step::LocalRoute {
                family,
                table: TABLE,
            },
        ]
    };
    families(ipv6).flat_map(steps).collect()
}

fn families(ipv6: bool) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6]
        .into_iter()
        .filter(move |family| *family == Family::V4 || ipv6)
}
