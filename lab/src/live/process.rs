//! A process that another command started: known again by the time it started at, so that one with the same id later
//! is never taken for it.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use serde::{Deserialize, Serialize};

/// What tells a process from every other, also after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Id on the machine.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did: field 22 of proc_pid_stat(5).
    start_time: u64,
    /// The kernel's own id of that start of the machine.
    boot: String,
}

impl ProcessId {
    /// Of a process that is there.
    ///
    /// # Errors
    /// /proc does not have it.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: start_time(pid)?,
            boot: boot()?,
        })
    }

    /// A handle on the process, while it lives: what is done with it can't meet another one.
    pub fn open(&self) -> Option<Process> {
        // SAFETY: pidfd_open takes two integers and gives a descriptor of our own, or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: just opened, and nobody else owns it.
        let process = Process(unsafe { OwnedFd::from_raw_fd(fd) });
        // Asked after the handle was taken: by now it can't be reused between the two.
        let same = Self::of(self.pid).is_ok_and(|now| now == *self);
        (same && !process.has_ended(Duration::ZERO)).then_some(process)
    }
}

/// A process, held by a pidfd.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Sends a signal; one that has ended needs none.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let info: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: the descriptor is a pidfd, and no information goes with the signal.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal as libc::c_int,
                info,
                0,
            )
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits for its end; false when it still lives after that time.
    pub fn has_ended(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Err(Errno::EINTR) => {}
                answer => return answer == Ok(1),
            }
        }
    }
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets, which may hold anything; the third is the first word behind it.
    let behind = stat.rsplit_once(')').map(|(_, behind)| behind);
    let field = behind.and_then(|it| it.split_whitespace().nth(22 - 3));
    let ticks = field.and_then(|field| field.parse().ok());
    ticks.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

fn boot() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_again() {
        let own = ProcessId::of(std::process::id().try_into().expect("positive")).expect("it runs");
        assert!(own.open().is_some());
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_taken_for_it() {
        let mut own =
            ProcessId::of(std::process::id().try_into().expect("positive")).expect("it runs");
        own.start_time -= 1;
        assert!(own.open().is_none());
    }

    #[test]
    fn a_process_of_an_earlier_start_of_the_machine_is_gone() {
        let mut own =
            ProcessId::of(std::process::id().try_into().expect("positive")).expect("it runs");
        own.boot = "another".to_owned();
        assert!(own.open().is_none());
    }

    #[test]
    fn one_that_has_ended_and_that_nobody_has_asked_for_is_gone() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("it starts");
        let id = ProcessId::of(child.id().try_into().expect("positive")).expect("it runs");
        let process = id.open().expect("it lives");
        assert!(!process.has_ended(Duration::ZERO));
        process.signal(Signal::SIGKILL).expect("it is ours");
        assert!(process.has_ended(Duration::from_secs(20)));
        assert!(id.open().is_none(), "a zombie");
        child.wait().expect("it is a child of ours");
    }
}
