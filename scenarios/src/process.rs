//! Processes of a running lab as the machine sees them.

use std::{
    fs,
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
};

use hoplab::{Lab, sandbox};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Process id on the machine of a process that has this id in the lab.
pub fn outer_pid(lab: &Lab, inner: u32) -> i32 {
    let processes = sandbox::processes(lab.pid());
    let found = processes.iter().find(|(_, inside)| *inside == inner);
    found.map_or_else(
        || panic!("the lab has no process {inner}"),
        |(outer, _)| *outer,
    )
}

/// A line of `/proc/PID/status` without its name; none when the process or the line is not there.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(name, _)| *name == field);
    values.next().map(|(_, value)| value.trim().to_string())
}

/// Kills a process and waits until it has ended: its sockets close before that, so a closed socket shows nothing.
pub fn kill_and_wait(pid: i32) {
    // SAFETY: pidfd_open takes two integers and gives a descriptor of our own, or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).expect("a descriptor");
    assert!(fd >= 0, "process {pid} is there");
    // SAFETY: just opened, and nobody else owns it.
    let process = unsafe { OwnedFd::from_raw_fd(fd) };
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is ours to kill");
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut ended, PollTimeout::from(10_000u16)).expect("poll works");
    assert_eq!(ready, 1, "process {pid} ends when it is killed");
}
