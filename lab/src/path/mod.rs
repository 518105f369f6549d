//! A connection's path as data: legs, hops, the rules that were asked on the way and why they did not match, and who
//! saw it. Pure.
//!
//! What matched, the kernel's trace says; why the other rules did not, the model says, asked about the packet as the
//! trace shows it. Where the two differ, the hop says so. Without a trace the hops are the model's, and counters, logs
//! and conntrack are their other witnesses.

mod answer;
mod chain;
mod ends;
mod hop;
mod kernel;
mod leg;
mod modelled;
mod namespace;
mod notes;
mod observed;
mod recorded;
mod seen;
mod walk;
mod witnesses;

pub use hop::{Changed, Event, Hop, Tried, Why, Witness};
pub use kernel::{Known, Namespace, of_packet};
pub use leg::{Leg, Path, Process, Source, Stretch, Way};
pub use modelled::of_journey;
pub use namespace::namespace_path;
pub use recorded::{meant, of_window};
