//! Starts the supervisor: clone(2) into new namespaces, then exec of this very binary.
//!
//! The caller may have many threads, so nothing but system calls happens between clone and exec.

use std::{
    ffi::{CString, c_char},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::{
    fcntl::OFlag,
    libc,
    sched::{CloneFlags, clone},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, Uid, pipe2},
};

use super::{
    SandboxError, idmap,
    protocol::{Message, Request},
};

/// File descriptor of the control socket in the supervisor.
pub const CONTROL_FD: RawFd = 3;

/// First argument that makes a binary of ours a supervisor; see `entry`.
pub(crate) const SUPERVISOR_ARG: &str = "__supervisor";

/// A running supervisor, seen from outside. Dropping it kills the lab, unless it was let go.
#[derive(Debug)]
pub struct Supervisor {
    pid: Pid,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    reaped: Option<WaitStatus>,
    let_go: bool,
}

impl Supervisor {
    /// Starts a supervisor in new PID, mount, network, UTS and IPC namespaces; as an ordinary user also in a new
    /// user namespace.
    ///
    /// # Errors
    /// Namespaces refused, or ids that can't be mapped; nothing is left then.
    pub fn start() -> Result<Self, SandboxError> {
        let setup = |what| move |source| SandboxError::Setup { what, source };
        let io_setup = |what| {
            move |e: io::Error| SandboxError::Setup {
                what,
                source: nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
            }
        };
        let (ours, theirs) = UnixStream::pair().map_err(io_setup("make a control socket"))?;
        let (gate_read, gate_write) = pipe2(OFlag::O_CLOEXEC).map_err(setup("make a pipe"))?;
        let rootless = !Uid::effective().is_root();
        let pid = clone_and_exec(&theirs, &gate_read, &gate_write, rootless)?;
        drop((theirs, gate_read));
        let mut supervisor = Self {
            pid,
            reader: BufReader::new(ours.try_clone().map_err(io_setup("clone a socket"))?),
            writer: ours,
            reaped: None,
            let_go: false,
        };
        if rootless {
            idmap::write(pid)?;
        }
        // The child waits for this byte, so that it never runs with unmapped ids.
        std::fs::File::from(gate_write)
            .write_all(b"g")
            .map_err(|_| supervisor.gone())?;
        Ok(supervisor)
    }

    /// Process id as seen from outside.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn send(&mut self, request: &Request) -> Result<(), SandboxError> {
        let mut line = serde_json::to_vec(request)
            .map_err(|e| SandboxError::Protocol(format!("a request has no JSON form: {e}")))?;
        line.push(b'\n');
        self.writer.write_all(&line).map_err(|_| self.gone())
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The supervisor is gone, or what it says is not of the protocol.
    pub fn receive(&mut self) -> Result<Message, SandboxError> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(n) if n > 0 => serde_json::from_str(&line)
                .map_err(|e| SandboxError::Protocol(format!("{e}: {}", line.trim_end()))),
            _ => Err(self.gone()),
        }
    }

    /// A handle that can end a blocked [`Self::receive`] from a signal handler's thread.
    ///
    /// # Errors
    /// The socket can't be duplicated.
    pub fn interrupter(&self) -> io::Result<UnixStream> {
        self.writer.try_clone()
    }

    /// Lets the lab live on without this process.
    pub fn let_go(mut self) {
        self.let_go = true;
    }

    /// Waits for the supervisor's own end.
    pub fn wait(mut self) -> WaitStatus {
        self.reap(None)
    }

    fn gone(&mut self) -> SandboxError {
        let status = self.reap(None);
        SandboxError::Gone {
            how: match status {
                WaitStatus::Exited(_, code) => format!("exit code {code}"),
                WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
                other => format!("{other:?}"),
            },
        }
    }

    fn reap(&mut self, flags: Option<WaitPidFlag>) -> WaitStatus {
        if let Some(status) = self.reaped {
            return status;
        }
        loop {
            match waitpid(self.pid, flags) {
                Ok(status) => {
                    if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
                        self.reaped = Some(status);
                    }
                    return status;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return WaitStatus::StillAlive,
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.let_go || self.reaped.is_some() {
            return;
        }
        // PID 1 of the lab: its death is the death of everything in it.
        let _ = kill(self.pid, Signal::SIGKILL);
        self.reap(None);
    }
}

fn clone_and_exec(
    control: &UnixStream,
    gate_read: &OwnedFd,
    gate_write: &OwnedFd,
    rootless: bool,
) -> Result<Pid, SandboxError> {
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if rootless {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let program = CString::from(c"/proc/self/exe");
    let args = [
        CString::from(c"hoplab"),
        CString::new(SUPERVISOR_ARG).expect("no zero byte"),
    ];
    let argv: [*const c_char; 3] = [args[0].as_ptr(), args[1].as_ptr(), std::ptr::null()];
    let (control, gate_read, gate_write) = (
        control.as_raw_fd(),
        gate_read.as_raw_fd(),
        gate_write.as_raw_fd(),
    );
    let mut stack = vec![0u8; 64 * 1024];
    let child = Box::new(move || -> isize {
        // SAFETY: only async-signal-safe calls, on values made before the clone.
        unsafe {
            libc::close(gate_write);
            let mut byte = 0u8;
            // No byte: the parent gave up or died.
            if libc::read(gate_read, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(125);
            }
            if rootless && (libc::setresgid(0, 0, 0) != 0 || libc::setresuid(0, 0, 0) != 0) {
                libc::_exit(124);
            }
            // Out of the terminal's foreground group: Ctrl-C is the caller's to handle.
            libc::setsid();
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            libc::dup2(null, 0);
            libc::dup2(2, 1);
            if control == CONTROL_FD {
                libc::fcntl(control, libc::F_SETFD, 0);
            } else {
                libc::dup2(control, CONTROL_FD);
            }
            libc::execv(program.as_ptr(), argv.as_ptr());
            libc::_exit(123)
        }
    });
    // SAFETY: the child has its own copy of the memory (no CLONE_VM) and ends in exec or _exit.
    unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }.map_err(|source| {
        SandboxError::Namespaces {
            flags: if rootless {
                "user, pid, mount, network"
            } else {
                "pid, mount, network"
            },
            source,
        }
    })
}
