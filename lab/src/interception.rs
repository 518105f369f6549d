//! How the sidecars of a run intercept, beside the rules: what proxy and routes must be for the rules to work. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{
    istio::{Config, InterceptionMode, Owner},
    ports,
    rules::Family,
};

/// What a sidecar's proxy listens on, who it is, and how its packets are marked and routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interception {
    /// Port of the outbound listener.
    pub outbound: u16,
    /// Port of the inbound listener.
    pub inbound: u16,
    /// Source of inbound upstream connections, IPv4 and IPv6, in REDIRECT mode.
    pub inbound_source: [IpAddr; 2],
    /// Present in TPROXY mode.
    pub tproxy: Option<Tproxy>,
    /// Port of the DNS listener, UDP and TCP, when DNS is captured.
    pub dns: Option<u16>,
    /// User and group of the proxy; none leaves them to the lab file.
    pub owner: Option<(u32, u32)>,
}

/// What TPROXY needs beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tproxy {
    /// Mark of the packets that routes bring to the proxy, and of the proxy's own inbound upstream connections.
    pub mark: u32,
    /// Routing table that takes them to lo.
    pub route_table: u32,
}

/// Source of inbound upstream connections, IPv4 and IPv6 (Istio's InboundPassthroughBindIpv4 and -Ipv6).
pub const INBOUND_SOURCE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

impl Default for Interception {
    /// REDIRECT with Istio's ports, without DNS.
    fn default() -> Self {
        Self {
            outbound: ports::OUTBOUND,
            inbound: ports::INBOUND,
            inbound_source: INBOUND_SOURCE,
            tproxy: None,
            dns: None,
            owner: None,
        }
    }
}

impl Interception {
    /// What goes with the rules of a configuration.
    ///
    /// In TPROXY mode the proxy needs CAP_NET_ADMIN, so Istio runs it as root with its own group, which the group
    /// rules know. Of several users or groups the proxy is the first.
    pub fn of(config: &Config) -> Self {
        let first = |owners: &[Owner]| owners.iter().find_map(|o| o.to_string().parse().ok());
        let owner = first(&config.proxy_uid).zip(first(&config.proxy_gid));
        let tproxy =
            (config.inbound_interception_mode == InterceptionMode::Tproxy).then_some(Tproxy {
                mark: config.inbound_tproxy_mark,
                route_table: config.inbound_tproxy_route_table,
            });
        Self {
            outbound: config.proxy_port,
            inbound: config.inbound_capture_port,
            owner: match tproxy {
                Some(_) => owner.map(|(_, gid)| (0, gid)),
                None => owner,
            },
            tproxy,
            dns: config.dns.as_ref().map(|_| ports::DNS),
            ..Self::default()
        }
    }

    /// Source of inbound upstream connections of a family, in REDIRECT mode.
    pub fn source(&self, family: Family) -> IpAddr {
        self.inbound_source[usize::from(family == Family::V6)]
    }
}
