//! What this binary is when the lab executes it again: a supervisor, or one of the stubs.
//!
//! Every binary that uses the library (the command line, a test) calls [`dispatch`] first thing, so that a lab
//! always runs the code it was built with: no stale stub can be met.

use std::process::ExitCode;

use crate::{process, sandbox, supervisor};

/// Takes over the process if it was started as a supervisor or a stub; returns otherwise.
///
/// Call it before any thread exists: a stub changes its user and group.
pub fn dispatch() {
    let mut args = std::env::args().skip(1);
    let code = match args.next().as_deref() {
        Some(sandbox::SUPERVISOR_ARG) => supervisor::main(),
        Some(process::STUB_ARG) => process::stub_main(args),
        _ => return,
    };
    // Not a return to the caller: in a test binary that would run the tests again inside the lab.
    #[allow(clippy::disallowed_methods)]
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}
