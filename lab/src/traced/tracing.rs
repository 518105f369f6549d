//! How much of a lab's traffic is traced.

use serde::{Deserialize, Serialize};

/// Which packets of a lab are traced rule by rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracing {
    /// None: the trace is no witness then.
    Off,
    /// The first packet of every connection and the answer to it, and every packet of UDP.
    #[default]
    FirstAndReply,
    /// Every packet.
    All,
}
