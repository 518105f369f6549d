//! What Istio tells the kernel over netlink beside the rules: policy rules, routes, and one address.

use std::fmt;

use super::{
    Config, InboundPorts,
    ambient::{Ambient, CONNECTION_MARK, MASK},
};
use crate::rules::Family;

/// One thing to add. Displays as the `ip` command that adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    LoopbackAddress(&'static str),
}

/// A mark, and a mask where one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
                let option = if address.contains(':') { "-6" } else { "-4" };
                write!(f, "ip {option} addr add {address} dev lo")
            }
        }
    }
}

/// What a sidecar needs: an address for IPv6, and policy routing if TPROXY captures anything.
pub fn sidecar(config: &Config) -> Vec<Step> {
    let mut steps = Vec::new();
    if config.enable_ipv6 {
        steps.push(Step::LoopbackAddress("::6/128"));
    }
    if config.is_tproxy() && config.inbound_ports != InboundPorts::Off {
        let table = config.inbound_tproxy_route_table;
        for family in families(config.enable_ipv6) {
            let mark = Mark::Whole(config.inbound_tproxy_mark);
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
    const TABLE: u32 = 100;
    const PREFERENCE: u32 = 32764;
    let steps = |family| {
        let mark = Mark::Masked(CONNECTION_MARK, MASK);
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
    families(config.enable_ipv6).flat_map(steps).collect()
}

fn families(ipv6: bool) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6]
        .into_iter()
        .filter(move |family| *family == Family::V4 || ipv6)
}
