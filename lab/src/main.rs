//! The `hoplab` binary: command line, supervisor and stubs in one file.

use std::process::ExitCode;

fn main() -> ExitCode {
    hoplab::entry::dispatch();
    hoplab::cli::main()
}
