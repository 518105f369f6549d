//! DNS capture: which servers' traffic goes to the agent.

use std::net::IpAddr;

use super::{Settings, Warning};
use crate::rules::Family;

/// Port the agent answers DNS on.
pub(super) const AGENT_DNS_PORT: u16 = 15053;

/// Whose DNS traffic is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsCapture {
    /// Everybody's.
    All,
    /// That to these servers.
    Servers(DnsServers),
}

impl DnsCapture {
    /// Nothing, when it is off or has no server to capture.
    pub(super) fn new(
        s: &Settings,
        servers: &DnsServers,
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        if !s.redirect_dns {
            if s.capture_all_dns {
                warnings.push(Warning::CaptureAllIgnored);
            }
            return None;
        }
        if s.capture_all_dns {
            return Some(Self::All);
        }
        if servers.v4.is_empty() && servers.v6.is_empty() {
            warnings.push(Warning::DnsWithoutServers);
            return None;
        }
        Some(Self::Servers(servers.clone()))
    }

    /// What is captured in one family; a rule each.
    pub(super) fn targets(&self, family: Family) -> Vec<DnsTarget> {
        match (self, family) {
            (Self::All, _) => vec![DnsTarget::Any],
            (Self::Servers(servers), Family::V4) => servers
                .v4
                .iter()
                .map(|s| DnsTarget::Server(format!("{s}/32")))
                .collect(),
            (Self::Servers(servers), Family::V6) => servers
                .v6
                .iter()
                .map(|s| DnsTarget::Server(format!("{s}/128")))
                .collect(),
        }
    }
}

/// Destination of captured DNS traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DnsTarget {
    /// Whatever address.
    Any,
    /// One server, as a CIDR.
    Server(String),
}

impl DnsTarget {
    /// ` -d SERVER`, or nothing.
    pub(super) fn option(&self, option: &str) -> String {
        match self {
            Self::Any => String::new(),
            Self::Server(server) => format!(" {option} {server}"),
        }
    }
}

/// DNS servers by family, spelled as they go into the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsServers {
    /// IPv4 servers.
    pub v4: Vec<String>,
    /// IPv6 servers.
    pub v6: Vec<String>,
}

impl DnsServers {
    /// The `nameserver` lines of a resolv.conf, addresses in canonical form. What is no address is left out.
    pub fn from_resolv_conf(text: &str) -> Self {
        let mut servers = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some("nameserver"), Some(word)) = (words.next(), words.next()) {
                servers.push_canonical(word);
            }
        }
        servers
    }

    /// Takes a server spelled by a person; the spelling is kept. False if it is no address.
    #[must_use]
    pub fn push(&mut self, text: &str) -> bool {
        match text.parse() {
            Ok(IpAddr::V4(_)) => self.v4.push(text.to_owned()),
            Ok(IpAddr::V6(_)) => self.v6.push(text.to_owned()),
            Err(_) => return false,
        }
        true
    }

    fn push_canonical(&mut self, word: &str) {
        match word.parse() {
            Ok(IpAddr::V4(address)) => self.v4.push(address.to_string()),
            Ok(IpAddr::V6(address)) => self.v6.push(address.to_string()),
            Err(_) => {}
        }
    }
}
