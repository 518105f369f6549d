//! A flow: who sends what from where to whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::rules::{Family, Protocol};

/// One connection that is opened, or the first datagram of a UDP flow.
///
/// `Display` is the words `hoplab predict` takes for a packet, with every address said:
/// `tcp uid=1337 gid=1337 src=192.0.2.2 dst=192.0.2.2:9080`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who sends it.
    pub origin: Origin,
    /// The source address; the port is any that no rule names.
    pub source: IpAddr,
    /// The destination, as the sender gives it.
    pub to: SocketAddr,
}

/// Who sends a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Another machine; it comes in by this interface.
    Outside {
        /// The interface: `eth0`.
        interface: String,
    },
    /// A process of the pod.
    Pod {
        /// User that made the socket.
        uid: u32,
        /// Group that made the socket.
        gid: u32,
        /// Mark of the socket; 0 for none.
        mark: u32,
    },
}

impl Flow {
    /// Address family.
    pub fn family(&self) -> Family {
        Family::of(self.to.ip())
    }

    /// True when a process of the pod sends it.
    pub fn is_sent_by_pod(&self) -> bool {
        matches!(self.origin, Origin::Pod { .. })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            origin,
            source,
            to,
        } = self;
        match origin {
            Origin::Outside { interface } => write!(f, "{protocol} in={interface}")?,
            Origin::Pod { uid, gid, mark } => {
                write!(f, "{protocol} uid={uid} gid={gid}")?;
                if *mark != 0 {
                    write!(f, " mark={mark:#x}")?;
                }
            }
        }
        write!(f, " src={source} dst={to}")
    }
}
