//! A command in a pod ends with the process that started it, however that one ends.
//!
//! The kernel does it (`PR_SET_PDEATHSIG`), after SIGKILL as well; signals that ask to end are handed on, so that the
//! command can end in its own way. What the command itself has started and left is its own affair.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{SigHandler, Signal, kill, raise, signal},
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
    pub fn tie(&self, signals: &Signals) -> impl Fn() -> io::Result<()> + use<> {
        let (here, there) = (self.here.as_raw_fd(), self.there.as_raw_fd());
        let early = Arc::clone(&signals.early);
        move || {
            for number in HANDED_ON {
                // SAFETY: the default action runs no code.
                unsafe { signal(number, SigHandler::SigDfl)? };
            }
            // One that came to the command while it still had this process's handlers.
            if let Ok(signal) = Signal::try_from(early.load(Ordering::SeqCst)) {
                raise(signal)?;
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

/// Signals that are the command's, in place of ending this process; those that come before it is there are kept for it.
pub(super) struct Signals {
    /// 0 while there is none.
    command: Arc<AtomicI32>,
    /// The last that came too early; 0 is none.
    early: Arc<AtomicI32>,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        let (command, early) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
        for number in HANDED_ON {
            let (command, early) = (Arc::clone(&command), Arc::clone(&early));
            let number = number as libc::c_int;
            // SAFETY: kill(2) and atomic numbers may be used in a signal handler.
            unsafe {
                signal_hook::low_level::register(number, move || {
                    match command.load(Ordering::SeqCst) {
                        0 => early.store(number, Ordering::SeqCst),
                        command => {
                            libc::kill(command, number);
                        }
                    }
                })?;
            }
        }
        Ok(Self { command, early })
    }

    /// Hands them on to the command, the early one first. With one thread in this process none gets lost between.
    pub fn hand_on(&self, command: Pid) -> Result<(), Errno> {
        self.command.store(command.as_raw(), Ordering::SeqCst);
        match Signal::try_from(self.early.swap(0, Ordering::SeqCst)) {
            Ok(signal) => kill(command, signal),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::Command,
    };

    use super::*;

    #[test]
    fn a_signal_that_comes_before_the_command_is_executed_ends_it() {
        let (lifeline, signals) = (
            Lifeline::new().expect("there is room for a pipe"),
            Signals::catch().expect("signals can be caught"),
        );
        let tie = lifeline.tie(&signals);
        let mut command = Command::new("sleep");
        // SAFETY: the closure makes system calls only.
        unsafe {
            command.arg("600").pre_exec(move || {
                raise(Signal::SIGTERM)?;
                tie()
            });
        }
        // Nobody tells whether it was executed: the pipe that would closes either way.
        let mut child = command.spawn().expect("it starts");
        let status = child.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(libc::SIGTERM));
        assert_eq!(signals.early.load(Ordering::SeqCst), 0);
    }
}
