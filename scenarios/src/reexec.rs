//! A lab executes the binary it runs in again, as supervisor and as stubs: a test binary must be both.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, Signal, signal};

static RAN: AtomicBool = AtomicBool::new(false);

/// Runs before `main`, and so before libtest has started a thread; a stub changes its user and group.
#[ctor::ctor(unsafe)]
fn supervisor_or_stub() {
    // What Rust's own start-up does before `main`, and only a little later than now.
    // SAFETY: no handler of ours is replaced, and none runs.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    hoplab::entry::dispatch();
    RAN.store(true, Ordering::SeqCst);
}

/// Panics unless this binary can play supervisor and stub. To refer to it is also what makes the linker keep them.
pub fn assert_possible() {
    assert!(
        RAN.load(Ordering::SeqCst),
        "this test binary lacks the constructor of hoplab-scenarios: a lab could not start its supervisor from it"
    );
}
