//! What the installers of Kuma and Linkerd have in common: a table of flags that set a typed configuration, and the
//! few kinds of values they take. Pure.

mod flag;
mod value;

pub use flag::{Configuration, Flag, Takes, Wrong};
pub use value::{Subnet, seconds, switch, whole_number};
