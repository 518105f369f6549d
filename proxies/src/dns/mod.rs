//! DNS as far as the lab needs it: one lookup, the cluster's server, and what the sidecar's DNS proxy shares with both.
//!
//! The wire format is hickory's. Sockets are our own, since the connection log must see every one of them.

pub(crate) mod ask;
pub(crate) mod cluster;
pub(crate) mod lookup;
pub(crate) mod message;
pub(crate) mod names;
pub(crate) mod response;
pub(crate) mod server;
mod tcp;
mod udp;
