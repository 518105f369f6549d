//! A mesh's own check of its rules, as a flow: what it would notice can be held against what flows notice.

use std::net::{IpAddr, SocketAddr};

use super::flow::{Flow, Origin};
use super::seen::SeenEnd;
use crate::ports;
use crate::rules::Protocol;

/// A check that a mesh has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// That of istio-init (`--run-validation`): the proxy's user calls 127.0.0.6 at the probe port, 15002, and expects one
    /// of the proxy's listeners to get the call (ISTIO: tools/istio-iptables/pkg/validation).
    Istio,
}

impl Validation {
    /// The call it makes.
    pub fn flow(self) -> Flow {
        let Self::Istio = self;
        Flow {
            protocol: Protocol::Tcp,
            origin: Origin::Pod {
                uid: 1337,
                gid: 1337,
                mark: 0,
            },
            source: IpAddr::from([127, 0, 0, 1]),
            source_port: None,
            stray: false,
            leaves: None,
            to: SocketAddr::from(([127, 0, 0, 6], 15002)),
        }
    }

    /// Whether it is content when its call ends so.
    pub fn passes(self, end: &SeenEnd) -> bool {
        let Self::Istio = self;
        match end {
            SeenEnd::Reached(at) => [ports::OUTBOUND, ports::INBOUND].contains(&at.port),
            _ => false,
        }
    }
}
