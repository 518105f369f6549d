//! Which connections a flow sets off, and which rules each of them meets: topology, rules and flow in, legs out. Pure.
//!
//! A leg is one TCP connection. The prediction knows what the lab's own app and proxy do with a connection; what
//! the rules do with it, the `model` says.

mod legs;
mod listener;
mod turns;

pub use legs::{Leg, LegEnd, Opener, gateway_vip, predict};
pub use listener::{Listener, listener_at};
pub use turns::Turns;

#[cfg(test)]
mod tests;
