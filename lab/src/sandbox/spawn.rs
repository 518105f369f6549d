//! Starts the supervisor: clone(2) into new namespaces, then exec of this very binary.
//!
//! The caller may have many threads, so nothing but system calls happens between clone and exec.

use std::{
    ffi::{CString, c_char},
    io::{self, BufReader, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
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
    speech,
};

/// File descriptor of the control socket in the supervisor.
pub const CONTROL_FD: RawFd = 3;

/// File descriptor, in the supervisor, of the socket that later commands come to. Only a lab that is started with
/// [`LISTEN_ARG`] has it.
pub(crate) const LISTENER_FD: RawFd = 4;

/// Second argument of a supervisor that listens to later commands.
pub(crate) const LISTEN_ARG: &str = "listen";

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
        Self::start_with(None)
    }

    /// The same, with a socket that later commands come to once the lab was let go. The socket is made by the caller:
    /// the supervisor's own view of the file system has no place that the machine sees.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_listening(listener: &UnixListener) -> Result<Self, SandboxError> {
        Self::start_with(Some(listener))
    }

    fn start_with(listener: Option<&UnixListener>) -> Result<Self, SandboxError> {
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
        // Above what the child gives a number to: to put one in its place never closes the other.
        let above = |fd: BorrowedFd| {
            let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(LISTENER_FD + 1));
            let copy = copy.map_err(setup("duplicate a socket"))?;
            // SAFETY: just made, and nobody else owns it.
            Ok::<_, SandboxError>(unsafe { OwnedFd::from_raw_fd(copy) })
        };
        let control = above(theirs.as_fd())?;
        let listener = listener.map(|it| above(it.as_fd())).transpose()?;
        let pid = clone_and_exec(
            &control,
            listener.as_ref(),
            &gate_read,
            &gate_write,
            rootless,
        )?;
        drop((theirs, control, listener, gate_read));
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
        speech::say(&mut self.writer, request).map_err(|error| self.or_gone(error))
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The supervisor is gone, or what it says is not of the protocol.
    pub fn receive(&mut self) -> Result<Message, SandboxError> {
        speech::hear(&mut self.reader).map_err(|error| self.or_gone(error))
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

    fn or_gone(&mut self, error: speech::Error) -> SandboxError {
        match error {
            speech::Error::Unreadable(words) => SandboxError::Protocol(words),
            speech::Error::Closed => self.gone(),
        }
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
    control: &OwnedFd,
    listener: Option<&OwnedFd>,
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
        CString::new(LISTEN_ARG).expect("no zero byte"),
    ];
    let listens = listener.map_or(std::ptr::null(), |_| args[2].as_ptr());
    let argv: [*const c_char; 4] = [
        args[0].as_ptr(),
        args[1].as_ptr(),
        listens,
        std::ptr::null(),
    ];
    let listener = listener.map_or(-1, AsRawFd::as_raw_fd);
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
            // Not by libc: its setresuid waits for a thread that the parent was starting, which is not here.
            if rootless
                && (libc::syscall(libc::SYS_setresgid, 0, 0, 0) != 0
                    || libc::syscall(libc::SYS_setresuid, 0, 0, 0) != 0)
            {
                libc::_exit(124);
            }
            // Its network namespace was made before ids were mapped, and files of /proc/net there belong to nobody:
            // legacy iptables could not read the node's tables (`proc_net_ns_init` in fs/proc/proc_net.c).
            if rootless && libc::unshare(libc::CLONE_NEWNET) != 0 {
                libc::_exit(122);
            }
            // Out of the terminal's foreground group: Ctrl-C is the caller's to handle.
            libc::setsid();
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            libc::dup2(null, 0);
            libc::dup2(2, 1);
            libc::dup2(control, CONTROL_FD);
            if listener != -1 {
                libc::dup2(listener, LISTENER_FD);
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
