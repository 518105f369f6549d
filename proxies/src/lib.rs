//! The stub app and the stub proxy of hoplab, and the record format of their connection logs.
//!
//! A stub is a process of its own: the lab spawns it inside a pod's network namespace with the uid and gid the
//! rules under test look at, and calls [`run_stub`] first thing. [`wire`] is what the two say to each other,
//! [`record`] is the evidence a stub leaves behind.

pub mod record;
pub mod wire;

#[cfg(all(feature = "stubs", target_os = "linux"))]
mod accept;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod app;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod call;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod counted_io;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod dial;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod dns;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod errno;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod held;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod http_server;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod listen;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod log;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod log_level;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod open_files;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod output;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod proxy;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod socket_facts;
#[cfg(all(feature = "stubs", target_os = "linux"))]
mod stub;

#[cfg(all(feature = "stubs", target_os = "linux"))]
use std::process::ExitCode;

/// Plays the stub that the first line of standard input describes, until standard input ends.
///
/// To be called first thing in a fresh process that already has the uid, gid and network namespace it is to keep.
/// Ends with 0 when standard input ends; with 1 and a message on standard error when the configuration is
/// unreadable, a listener can't be bound (the message names address and errno) or a command is malformed. A panic
/// anywhere ends the process with 101. A connection still open at the end has no close record.
#[cfg(all(feature = "stubs", target_os = "linux"))]
pub fn run_stub() -> ExitCode {
    stub::exit_on_panic();
    match stub::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoplab stub: {error}");
            ExitCode::FAILURE
        }
    }
}
