//! The sandbox: a supervisor that is PID 1 of its own namespaces. The kernel removes everything in it when it dies,
//! however it dies.

mod error;
mod idmap;
mod mounts;
pub mod protocol;
mod spawn;

pub use error::SandboxError;
pub use mounts::RUN_DIR;
pub(crate) use mounts::prepare_mounts;
pub(crate) use spawn::SUPERVISOR_ARG;
pub use spawn::{CONTROL_FD, Supervisor};
