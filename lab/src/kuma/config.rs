//! What the installer is told and what it finds, with Kuma's defaults.

use super::{uids::ForUids, vnet::Vnet};
use crate::{istio::DnsServers, mesh::Subnet, rules::Family};

/// A configuration of the transparent proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// User of kuma-dp. Kuma knows no group.
    pub uid: u32,
    /// Families that get rules.
    pub families: Families,
    /// What comes in.
    pub inbound: Capture,
    /// What the pod opens.
    pub outbound: Capture,
    /// Ports left alone for some users.
    pub exclude_outbound_ports_for_uids: Vec<ForUids>,
    /// DNS to the servers of resolv.conf goes to the proxy.
    pub redirect_dns: bool,
    /// All DNS goes to the proxy.
    pub redirect_all_dns: bool,
    /// Port the proxy answers DNS on.
    pub dns_port: u16,
    /// The proxy's own DNS has a conntrack zone of its own, where the machine can do that.
    pub dns_zones: bool,
    /// Interfaces whose traffic counts as outbound.
    pub vnet: Vec<Vnet>,
    /// Drop what conntrack calls invalid.
    pub drop_invalid: bool,
    /// Log every packet that nat is asked about.
    pub log: bool,
    /// How the installer waits for iptables.
    pub waiting: Waiting,
}

/// Which families get rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// Both.
    DualStack,
    /// IPv4 only.
    V4,
}

/// How one direction is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// It is captured at all.
    pub enabled: bool,
    /// Port it goes to.
    pub port: u16,
    /// Only these ports are captured; none means all.
    pub include_ports: Vec<u16>,
    /// These ports are not.
    pub exclude_ports: Vec<u16>,
    /// Sources (inbound) or destinations (outbound) that are left alone.
    pub exclude_ips: Vec<Subnet>,
    /// The jump to the chain is inserted, not appended.
    pub insert: bool,
}

/// How the installer waits for another iptables, and tries again. Changes commands, no rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Seconds to wait for the lock of legacy iptables.
    pub wait: u32,
    /// Microseconds between two looks at it; 0 leaves it to iptables.
    pub wait_interval: u32,
    /// Tries after the first.
    pub max_retries: u32,
    /// Seconds between two tries.
    pub sleep_between_retries: u32,
}

/// What the installer finds on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Servers of resolv.conf.
    pub dns_servers: DnsServers,
    /// Families whose nat table holds a chain DOCKER_OUTPUT: the pod is in a Docker network of its own.
    pub docker_output: Vec<Family>,
    /// There is no raw table.
    pub without_raw: bool,
    /// There is no mangle table.
    pub without_mangle: bool,
    /// The match `conntrack` is missing.
    pub without_conntrack: bool,
    /// The match `udp` is missing.
    pub without_udp: bool,
}

impl Capture {
    fn to(port: u16) -> Self {
        Self {
            enabled: true,
            port,
            include_ports: Vec::new(),
            exclude_ports: Vec::new(),
            exclude_ips: Vec::new(),
            insert: false,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            uid: 5678,
            families: Families::DualStack,
            inbound: Capture::to(15006),
            outbound: Capture::to(15001),
            exclude_outbound_ports_for_uids: Vec::new(),
            redirect_dns: false,
            redirect_all_dns: false,
            dns_port: 15053,
            dns_zones: true,
            vnet: Vec::new(),
            drop_invalid: false,
            log: false,
            waiting: Waiting {
                wait: 5,
                wait_interval: 0,
                max_retries: 4,
                sleep_between_retries: 2,
            },
        }
    }
}

impl Config {
    /// Families that get rules, IPv4 first.
    pub fn families(&self) -> &'static [Family] {
        match self.families {
            Families::DualStack => &[Family::V4, Family::V6],
            Families::V4 => &[Family::V4],
        }
    }
}

/// The source of calls the proxy makes to its own pod for somebody outside, as rules spell it.
pub(super) fn passthrough_source(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.6/32",
        Family::V6 => "::6/128",
    }
}

/// What counts as loopback, as rules spell it.
pub(super) fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.1/32",
        Family::V6 => "::1/128",
    }
}
