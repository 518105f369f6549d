//! A pod of a lab: its place in the network, its processes, its rules.

use serde::{Deserialize, Serialize};

use super::{Addresses, InterfaceName, ProcessRole, RuleSource};
use crate::rules::Edit;

/// A pod: a network namespace with eth0, and the processes in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Name, also of its network namespace.
    pub name: String,
    /// Addresses of eth0.
    pub addr: Addresses,
    /// Interface inside the pod.
    pub interface: InterfaceName,
    /// Interface at the node's bridge, or in the pod that it is behind.
    pub host_interface: InterfaceName,
    /// Pod that its only link leads to, which forwards what it sends and gets: a virtual machine or a container in that
    /// pod. None is the node's bridge.
    #[serde(default)]
    pub behind: Option<String>,
    /// Its link is there. One that is behind another may come up without, until a step plugs it in.
    #[serde(default = "usually")]
    pub plugged: bool,
    /// The node is its default gateway; without, it knows the pod network alone.
    #[serde(default = "usually")]
    pub default_route: bool,
    /// Others are behind it, and it forwards what they send and get.
    #[serde(default)]
    pub relays: bool,
    /// The workload.
    pub app: Option<App>,
    /// What stands beside or in place of the workload.
    pub proxy: Option<Proxy>,
    /// Rules of its own, with changes of them; none has the lab's.
    #[serde(default)]
    pub rules: Option<(RuleSource, Vec<Edit>)>,
    /// Supplementary groups of its proxy; no owner match asks for them.
    #[serde(default)]
    pub proxy_groups: Vec<u32>,
    /// Processes that a step stopped.
    #[serde(default)]
    pub stopped: Vec<ProcessRole>,
}

/// What most pods have.
fn usually() -> bool {
    true
}

impl Pod {
    /// True when the pod carries the interception rules.
    pub fn is_sidecar(&self) -> bool {
        matches!(self.proxy, Some(Proxy::Sidecar { .. }))
    }
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Ports it serves, each once, at least one.
    pub ports: Vec<u16>,
    /// User it runs as; 1000 unless the file says otherwise.
    pub uid: u32,
    /// Group it runs as; 1000 unless the file says otherwise.
    pub gid: u32,
    /// Calls it makes while it answers, in order.
    pub calls: Vec<ServiceCall>,
}

/// A call by service name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCall {
    /// Name of the service.
    pub service: String,
    /// Request path.
    pub path: String,
}

/// The proxy of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proxy {
    /// Beside an app, with interception rules.
    Sidecar {
        /// User, 1337 unless the file says otherwise.
        uid: u32,
        /// Group, 1337 unless the file says otherwise.
        gid: u32,
    },
    /// Alone, without rules: a listener and the service behind it.
    Gateway {
        /// Port it listens on.
        port: u16,
        /// Service it sends to.
        service: String,
        /// User, 1337 unless the file says otherwise.
        uid: u32,
        /// Group, 1337 unless the file says otherwise.
        gid: u32,
    },
}

impl Proxy {
    /// User and group.
    pub fn owner(&self) -> (u32, u32) {
        match self {
            Self::Sidecar { uid, gid } | Self::Gateway { uid, gid, .. } => (*uid, *gid),
        }
    }
}
