//! The stub app and the stub proxy of hoplab, and the record format of their connection logs.

pub mod record;
pub mod wire;
