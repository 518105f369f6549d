//! What the proxy behind a rule set must be.

use std::net::IpAddr;

use serde::Serialize;

use crate::interception::Tproxy;

/// Ports of the proxy that rules send traffic to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// What comes in goes here; none where inbound traffic is left alone.
    pub inbound: Option<u16>,
    /// What the pod opens goes here.
    pub outbound: u16,
    /// DNS goes here, where it is captured.
    pub dns: Option<u16>,
}

/// Who the proxy is to the rules, and how it calls its app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// User the rules know it by; none where they ask for no user.
    pub uid: Option<u32>,
    /// Group the rules know it by.
    pub gid: Option<u32>,
    /// Marks the rules know it by, or set.
    pub marks: Marks,
    /// Source address of calls to its own app for somebody outside.
    pub inbound_source: InboundSource,
    /// Present where inbound traffic reaches it with TPROXY.
    pub tproxy: Option<Tproxy>,
}

impl Proxy {
    /// User and group to run it as. Where rules ask for no group it gets its user's number.
    pub fn owner(&self) -> Option<(u32, u32)> {
        let uid = match self.tproxy {
            // Istio runs the proxy as root then; only the group rules know it.
            Some(_) => Some(0),
            None => self.uid,
        };
        uid.map(|uid| (uid, self.gid.unwrap_or(uid)))
    }
}

/// Marks, in hexadecimal with a mask where the rules have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// On packets the proxy sends.
    pub sent: Option<String>,
    /// On connections the proxy made or took.
    pub connection: Option<String>,
}

/// Source address of calls to the own app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InboundSource {
    /// These, IPv4 and IPv6: what the rules exempt on `lo`.
    Address([IpAddr; 2]),
    /// That of the client.
    Client,
    /// Whatever the kernel picks.
    Kernel,
    /// 127.0.0.1 or `::1`: it calls its app there, since the rules turn a call to the pod's own address back to it.
    Loopback,
}
