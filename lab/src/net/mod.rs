//! Network namespaces and what is in them: one thread per namespace, links, addresses, routes, sysctls.

mod error;
mod links;
mod namespace;
mod ready;
mod renew;
mod routing;
mod seen;
mod sysctl;
mod visit;

pub use error::NetError;
pub use links::Netlink;
pub use namespace::{Inside, Job, Namespace, Sender};
pub use ready::{await_acknowledged, await_address, await_carrier};
pub use routing::MarkRule;
pub use seen::seen_of;
pub use sysctl::{write_sysctls, write_sysctls_if_there};
pub use visit::{ProcessNamespace, in_namespace_of};
