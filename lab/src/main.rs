//! The `hoplab` binary: command line, supervisor and stubs in one file.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(feature = "kernel", target_os = "linux"))]
    hoplab::entry::dispatch();
    hoplab::cli::main()
}
