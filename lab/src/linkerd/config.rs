//! What proxy-init is told, with the values Linkerd's chart gives it.

use std::fmt;

use super::ports::PortSpan;
use crate::{mesh::Subnet, rules::Family};

/// A configuration of proxy-init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Port inbound traffic goes to.
    pub incoming_proxy_port: u16,
    /// Port outbound traffic goes to.
    pub outgoing_proxy_port: u16,
    /// User of the proxy.
    pub proxy_uid: u32,
    /// Group of the proxy; no rule without it.
    pub proxy_gid: Option<u32>,
    /// Only these inbound ports are captured; none means all.
    pub ports_to_redirect: Vec<u16>,
    /// Inbound ports that are not.
    pub inbound_ports_to_ignore: Vec<PortSpan>,
    /// Destination ports that are not.
    pub outbound_ports_to_ignore: Vec<PortSpan>,
    /// Items of the two lists that proxy-init drops, since they are no ports: flag and item.
    pub dropped: Vec<(&'static str, String)>,
    /// Sources of inbound traffic that are left alone.
    pub subnets_to_ignore: Vec<Subnet>,
    /// The same rules for IPv6, after those for IPv4.
    pub ipv6: bool,
    /// Which iptables.
    pub mode: Mode,
    /// Commands wait for the lock.
    pub use_wait_flag: bool,
    /// Commands run in this network namespace.
    pub netns: Option<String>,
    /// Seconds conntrack keeps a connection that waits to be closed.
    pub timeout_close_wait_secs: Option<u32>,
    /// What the proxy sends to its own pod's address goes to its own inbound port, as it was before proxy-init #45.
    pub self_redirect: bool,
}

/// Which iptables proxy-init runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `iptables-legacy`.
    Legacy,
    /// `iptables-nft`.
    Nft,
    /// `iptables`, whichever that is.
    Plain,
}

impl Mode {
    /// The mode proxy-init ends up with when it was asked for this one: if the program is missing, it tries the
    /// others in this order, and says so in its log. None when there is no iptables at all.
    pub fn settle(self, installed: impl Fn(Mode) -> bool) -> Option<Mode> {
        let order = [self, Self::Nft, Self::Plain, Self::Legacy];
        order.into_iter().find(|mode| installed(*mode))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
            Self::Plain => "plain",
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        let ports = |ports: &[u16]| ports.iter().map(|port| PortSpan::one(*port)).collect();
        Self {
            incoming_proxy_port: 4143,
            outgoing_proxy_port: 4140,
            proxy_uid: 2102,
            proxy_gid: None,
            ports_to_redirect: Vec::new(),
            inbound_ports_to_ignore: ports(&[4190, 4191, 4567, 4568]),
            outbound_ports_to_ignore: ports(&[4567, 4568]),
            dropped: Vec::new(),
            subnets_to_ignore: Vec::new(),
            ipv6: true,
            mode: Mode::Legacy,
            use_wait_flag: false,
            netns: None,
            timeout_close_wait_secs: None,
            self_redirect: false,
        }
    }
}

impl Config {
    /// Families that get rules, IPv4 first.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 {
            &[Family::V4, Family::V6]
        } else {
            &[Family::V4]
        }
    }
}
