//! The kernel's packet filter as a lab uses it: apply rules as istio-init does, read counters, read conntrack.

mod backend;
mod conntrack;
mod error;
mod istio_init;
mod tables;

pub use backend::{Backend, BackendChoice, Chosen, Tool};
pub use conntrack::ConntrackWatch;
pub use error::NetfilterError;
pub use istio_init::{Applied, apply, restore};
pub use tables::{Ended, counters, edit, save, version};
