//! A command in a pod ends with the process that started it, however that one ends.
//!
//! The kernel does it (`PR_SET_PDEATHSIG`), after SIGKILL as well; signals that ask to end are handed on, so that the
//! command can end in its own way. What the command itself has started and left is its own affair.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{SigHandler, Signal, signal},
    },
    unistd::Pid,
};

/// Signals that ask a process to end, and that no key of a terminal sends.
const HANDED_ON: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// One end for each: that of the command closes when this process ends.
pub(super) struct Lifeline {
    here: OwnedFd,
    there: OwnedFd,
}

impl Lifeline {
    pub fn new() -> io::Result<Self> {
        let (there, here) = io::pipe()?;
        Ok(Self {
            here: here.into(),
            there: there.into(),
        })
    }

    /// What the command does before it is executed, after it has changed its user: that clears the request. Makes system
    /// calls only.
    pub fn tie(&self) -> impl Fn() -> io::Result<()> + use<> {
        let (here, there) = (self.here.as_raw_fd(), self.there.as_raw_fd());
        move || {
            for number in HANDED_ON {
                // SAFETY: the default action runs no code.
                unsafe { signal(number, SigHandler::SigDfl)? };
            }
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // Who ended before that sends nothing; then nobody holds the other end but this copy of it.
            let mut end = libc::pollfd {
                fd: there,
                events: 0,
                revents: 0,
            };
            // SAFETY: a number that is this process's own copy, and one structure as the count says.
            let ended = unsafe {
                libc::close(here);
                libc::poll(&raw mut end, 1, 0)
            };
            match Errno::result(ended)? {
                0 => Ok(()),
                _ => Err(Errno::ESRCH.into()),
            }
        }
    }
}

/// Hands on signals to the command from now on, in place of ending by them.
pub(super) fn hand_on_signals(command: Pid) -> io::Result<()> {
    for number in HANDED_ON {
        let (command, number) = (command.as_raw(), number as libc::c_int);
        // SAFETY: kill(2) may be called from a signal handler.
        unsafe {
            signal_hook::low_level::register(number, move || {
                libc::kill(command, number);
            })?;
        }
    }
    Ok(())
}
