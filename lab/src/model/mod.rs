//! What a rule set does to a packet, and why: the prediction the judge holds against what the kernel did.
//!
//! Pure. [`evaluate`] walks one table at one hook as the kernel does, and says of every rule on the way why it did
//! not match. What the model does not understand it calls unknown; it never guesses.

mod condition;
mod evaluate;
mod journey;
mod kind;
mod known;
mod landing;
mod mismatch;
mod packet;
mod passage;
mod question;
mod space;
mod traversal;

pub use evaluate::evaluate;
pub use journey::{Host, Journey, JourneyEnd, journey};
pub use known::{Known, Source, Turned, journey_of_known};
pub use landing::redirect_landing;
pub use mismatch::{Field, Mismatch};
pub use packet::Packet;

pub use crate::rules::Hook;
pub use passage::{Passage, WithoutNat, pass};
pub use question::{Given, Question, local_marks, mark_value, question};
pub use space::{PodAddresses, interesting_packets};
pub use traversal::{By, Outcome, Traversal, Try, TryResult};

#[cfg(test)]
mod tests;
