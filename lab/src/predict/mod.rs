//! Which connections a flow makes, and which rules each of them meets: lab, rules and flow in, legs out. Pure.
//!
//! A leg is one TCP connection, or one UDP query with its answer. What rules, routes and conntrack do with its packets,
//! the `model` says ([`Crossing`]); what the lab's own apps, proxies and DNS servers do with a connection they accept,
//! is a few lines here.

mod answer;
mod arrive;
mod crossing;
mod leg;
mod listener;
mod memory;
mod node;
mod serve;
mod turns;
mod walk;
mod world;

pub use answer::{Reply, is_unreachable};
pub use crossing::{Counted, Crossing, Moves, Range};
pub(crate) use crossing::{established, follow, turned, zone_of};
pub use leg::{Leg, LegEnd, Opener};
pub use listener::{Listener, listener_at};
pub use memory::{HeldOver, Memory, Remembered};
pub use turns::Turns;
pub use walk::{ANY_PORT, predict};
pub use world::{World, gateway_vip};

#[cfg(test)]
mod tests;
