//! The kernel's packet filter as a lab uses it: apply rules as istio-init does, read counters, read conntrack.

mod backend;
mod conntrack;
mod error;
mod held;
mod istio_init;
mod nft;
mod nft_tables;
mod tables;

pub use crate::rules::Holder;
pub use backend::{Backend, BackendChoice, Chosen, Tool, find_program};
pub use conntrack::ConntrackWatch;
pub use error::NetfilterError;
pub use held::{Held, rules_here, rules_of_process};
pub use istio_init::{Applied, apply, restore};
pub use nft::nft;
pub use nft_tables::{NftTable, nft_tables};
pub use tables::{Ended, counters, edit, save, version};
