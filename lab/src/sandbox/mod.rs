//! The sandbox: a supervisor that is PID 1 of its own namespaces. The kernel removes everything in it when it dies,
//! however it dies.

mod error;
mod idmap;
mod logs;
mod mounts;
mod processes;
pub mod protocol;
mod refusal;
mod spawn;
mod speech;
mod visitor;

pub use error::SandboxError;
pub(crate) use idmap::of_caller as subordinate_ids;
pub(crate) use logs::{LOG_ROOM, full_log_path, log_path};
pub use mounts::RUN_DIR;
pub(crate) use mounts::{prepare_mounts, renew_files};
pub use processes::processes;
pub(crate) use refusal::namespaces_fix;
pub use spawn::{CONTROL_FD, Supervisor};
pub(crate) use spawn::{LISTEN_ARG, LISTENER_FD, SUPERVISOR_ARG};
pub(crate) use speech::say;
pub use visitor::Visitor;
