//! The stub app and the stub proxy of hoplab, and the record format of their connection logs.
//!
//! A stub is a process of its own: the lab spawns it inside a pod's network namespace with the uid and gid the
//! rules under test look at, and calls [`run_stub`] first thing. [`wire`] is what the two say to each other,
//! [`record`] is the evidence a stub leaves behind.

pub mod record;
pub mod wire;

mod accept;
mod app;
mod call;
mod counted_io;
mod dial;
mod dns;
mod errno;
mod http_server;
mod listen;
mod log;
mod log_level;
mod open_files;
mod output;
mod proxy;
mod socket_facts;
mod stub;

use std::process::ExitCode;

/// Plays the stub that the first line of standard input describes, until standard input ends.
///
/// To be called first thing in a fresh process that already has the uid, gid and network namespace it is to keep.
/// Ends with 0 when standard input ends; with 1 and a message on standard error when the configuration is
/// unreadable, a listener can't be bound (the message names address and errno) or a command is malformed. A panic
/// anywhere ends the process with 101. A connection still open at the end has no close record.
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
