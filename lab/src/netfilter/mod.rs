//! The kernel's packet filter as a lab uses it: apply rules as istio-init does, with iptables or with nft; read
//! counters, read conntrack.

mod backend;
mod conntrack;
mod error;
mod held;
mod host;
mod init_log;
mod ipset;
mod istio_init;
mod native;
mod nft_tables;
pub(crate) mod room;
mod tables;

pub use crate::rules::Holder;
pub use backend::{Backend, BackendChoice, Chosen, Tool, find_program};
pub use conntrack::{ConntrackWatch, conntrack_here};
pub use error::NetfilterError;
pub use held::{Held, rules_here, rules_of_process};
pub use host::{Tool as RuleTool, apply_host};
pub(crate) use init_log::timestamp;
pub use istio_init::{apply, holds, replace, restore, restore_step};
pub use native::{
    apply as apply_native, native_held, native_rules, nft_version, replace as replace_native,
    transaction,
};
pub use nft_tables::{NftTable, nft_tables};
pub use tables::{Ended, counters, dump, edit, save, version};

use crate::rules::{CounterSnapshot, RuleSet, Written};

/// What an apply left behind.
pub struct Applied {
    /// The istio-init log.
    pub log: String,
    /// Per family with rules: what the kernel holds, as a value.
    pub saved: Vec<RuleSet>,
    /// The first counters, per family with rules.
    pub counters: Vec<CounterSnapshot>,
    /// The same rules as text.
    pub held: Written,
}
