//! Runs a command in a pod of a running lab: its network, the lab's files and processes, the pod's name for the host.

use std::{
    fs::File,
    io,
    os::unix::{
        fs::MetadataExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{SigHandler, Signal, kill, killpg, signal},
        termios::{SetArg, tcgetattr, tcsetattr},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgrp, isatty, setpgid, tcsetpgrp},
};

use super::{
    LiveError, RunningLab,
    lifeline::{Lifeline, Signals},
};
use crate::{
    failure::{Class, Failure},
    process::become_user,
};

/// Namespaces of a pod's process, in the order they are entered: what comes later needs rights in the first.
const NAMESPACES: [(&str, CloneFlags); 5] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Time for the end of a supervisor that is going down.
const DYING: Duration = Duration::from_secs(1);

/// Signals of the terminal that are the command's to react to.
const OF_THE_TERMINAL: [Signal; 5] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTOU,
    Signal::SIGTTIN,
];

/// Runs a command in a pod as a user and group, with standard input, output and terminal of this process, and waits
/// for its end. The pod `node` is the lab's node. When this process ends first, the command is killed.
///
/// This process enters the pod for good, and must have one thread.
///
/// # Errors
/// No such pod, no process of it left, a namespace that may not be entered, or a command that can't be started.
pub fn run_in(
    lab: &RunningLab,
    pod: &str,
    (uid, gid): (u32, u32),
    mut command: Command,
) -> Result<ExitStatus, Failure> {
    let pid = match pod {
        "node" => lab.pid().unsigned_abs(),
        pod => lab.pid_in(pod)?,
    };
    let refused = |what: &'static str| {
        let pod = pod.to_owned();
        move |source: io::Error| LiveError::Enter { what, pod, source }
    };
    // Taken now: its id says nothing in there.
    let supervisor = lab.state.supervisor.open();
    let at = std::env::current_dir().ok();
    enter(pid).map_err(refused("enter its namespaces"))?;
    name_the_host(pod).map_err(refused("name the host"))?;
    // A directory that is not there, or that the user may not enter, is no reason not to go.
    let at = at.filter(|at| std::env::set_current_dir(at).is_ok());
    if at.is_none() {
        let _ = std::env::set_current_dir("/");
    }
    let terminal = isatty(io::stdin()).unwrap_or(false);
    // A shell has settings of its own while it reads a line, and one that is killed leaves them.
    let settings = tcgetattr(io::stdin()).ok();
    let lifeline = Lifeline::new().map_err(refused("make a pipe"))?;
    let signals = Signals::catch().map_err(refused("watch for signals"))?;
    let tie = lifeline.tie(&signals);
    // SAFETY: the closure makes system calls only.
    unsafe {
        command.pre_exec(move || {
            if terminal {
                // A group of its own, that has a number in there: shells look for it.
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                tcsetpgrp(io::stdin(), getpgrp())?;
            }
            for number in OF_THE_TERMINAL {
                signal(number, SigHandler::SigDfl)?;
            }
            become_user(uid, gid, &[], false)?;
            tie()
        });
    }
    // Also keeps the call for the terminal from stopping the one that has lost it.
    for number in OF_THE_TERMINAL {
        // SAFETY: to ignore a signal runs no code.
        let _ = unsafe { signal(number, SigHandler::SigIgn) };
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|error| {
        let what = format!("could not start `{program}` in pod `{pod}`");
        Failure::new(Class::Input, what).cause(error.to_string())
    })?;
    let child = Pid::from_raw(child.id().cast_signed());
    // One that has ended already is told apart below.
    let _ = signals.hand_on(child);
    let status = wait_for(child, terminal);
    drop(lifeline);
    if terminal {
        let _ = tcsetpgrp(io::stdin(), getpgrp());
    }
    let status = status.map_err(|errno| refused("wait for the command")(errno.into()))?;
    // Who dies with the lab is killed by the kernel, an instant before the supervisor is gone for others.
    let killed = status.signal() == Some(libc::SIGKILL);
    if let (true, Some(settings)) = (killed, &settings) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, settings);
    }
    if killed && supervisor.is_none_or(|process| process.has_ended(DYING)) {
        let what = format!("lab `{}` went down while the command ran", lab.name());
        return Err(Failure::new(Class::State, what));
    }
    Ok(status)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process enters a pod for good, and has one thread: there is no other way to get a mount namespace"
)]
fn enter(pid: u32) -> io::Result<()> {
    let open = |(name, kind)| {
        let path = format!("/proc/{pid}/ns/{name}");
        let own = Path::new("/proc/self/ns").join(name).metadata()?;
        let there = Path::new(&path).metadata()?;
        // One's own user namespace can't be entered.
        let same = (own.dev(), own.ino()) == (there.dev(), there.ino());
        Ok((!same).then_some((File::open(path)?, kind)))
    };
    // All of them first: /proc is another one behind the last.
    let namespaces: Vec<Option<(File, CloneFlags)>> = NAMESPACES
        .into_iter()
        .map(open)
        .collect::<io::Result<_>>()?;
    for (namespace, kind) in namespaces.into_iter().flatten() {
        setns(namespace, kind)?;
    }
    Ok(())
}

fn name_the_host(pod: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(pod)?;
    Ok(())
}

/// Waits for the end of the command; while it is stopped from its terminal, so is this process.
fn wait_for(child: Pid, terminal: bool) -> Result<ExitStatus, Errno> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(ExitStatus::from_raw(signal as libc::c_int));
            }
            Ok(WaitStatus::Stopped(..)) if terminal => {
                tcsetpgrp(io::stdin(), getpgrp())?;
                kill(Pid::this(), Signal::SIGSTOP)?;
                // Here again: somebody has continued this process.
                tcsetpgrp(io::stdin(), child)?;
                killpg(child, Signal::SIGCONT)?;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
