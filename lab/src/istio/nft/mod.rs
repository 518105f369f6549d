//! Istio's native nftables rules: sidecar and ambient, and the transaction that holds them.

mod ambient;
mod sidecar;
mod sidecar_dns;
mod sidecar_outbound;
mod sidecar_tproxy;
mod transaction;

pub use ambient::{ambient_host, ambient_pod};
pub use sidecar::{SIDECAR_TABLES, sidecar};
pub use transaction::{Layout, Rules, transaction};

use crate::rules::Family;

/// `ip` or `ip6`, before `saddr` and `daddr`.
fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}
