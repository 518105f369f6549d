//! What was traced in one pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TracedPacket;

/// Packets traced in one namespace while one flow ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PodTrace {
    /// Names of the interfaces there, by the index that stations carry.
    pub interfaces: BTreeMap<u32, String>,
    /// Packets, in the order they were first seen.
    pub packets: Vec<TracedPacket>,
}

impl PodTrace {
    /// The name of an interface; its index in words where the name was not told.
    pub fn interface(&self, index: u32) -> String {
        let name = self.interfaces.get(&index).cloned();
        name.unwrap_or_else(|| format!("interface {index}"))
    }
}
