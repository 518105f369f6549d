//! The network namespace a process is in, for threads that live no longer than their work in it, and the user
//! namespace that owns it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    thread,
};

use nix::{
    libc,
    sched::CloneFlags,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::NetError;

/// `NS_GET_USERNS`, from linux/nsfs.h: the user namespace that owns a namespace.
const GET_USER_NAMESPACE: libc::c_ulong = 0xb701;
/// Inode of the first user namespace, the same on every kernel (`PROC_USER_INIT_INO` in linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;

/// The network namespace a process was in when this was opened. It is kept, and so are the names in it, however the
/// process ends.
#[derive(Debug)]
pub struct ProcessNamespace {
    pid: u32,
    file: File,
    id: Id,
    /// Can be read when the process has ended; none before Linux 5.3, and for a thread.
    process: Option<OwnedFd>,
}

/// Device and inode of a namespace, which no other has while it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    device: u64,
    inode: u64,
}

impl Id {
    fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self {
            device: about.dev(),
            inode: about.ino(),
        })
    }

    fn at(path: &str) -> io::Result<Self> {
        Self::of(&File::open(path)?)
    }
}

impl ProcessNamespace {
    /// The network namespace of a process, or of a thread.
    ///
    /// # Errors
    /// There is no such process, it has ended, or the kernel lets the caller not look at it.
    pub fn open(pid: u32) -> Result<Self, NetError> {
        // Before all else, so that it is not about a later process with the same id.
        let process = process(pid);
        let file = File::open(format!("/proc/{pid}/ns/net"));
        let file = file.map_err(|source| match source.kind() {
            // A process that has ended is listed until its parent asks for the exit code, and is in no namespace.
            io::ErrorKind::NotFound if fs::exists(format!("/proc/{pid}")).unwrap_or(false) => {
                NetError::Ended { pid }
            }
            io::ErrorKind::NotFound => NetError::NoSuchProcess { pid },
            _ => visit(pid, "look at")(source),
        })?;
        let id = Id::of(&file).map_err(visit(pid, "look at"))?;
        Ok(Self {
            pid,
            file,
            id,
            process,
        })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What can be read when the process has ended; none where the kernel gives nothing to wait for.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(AsFd::as_fd)
    }

    /// Number of the namespace, as `ls -l /proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u64 {
        self.id.inode
    }

    /// Whether it is the machine's own: the one process 1 is in. In a container that is the container's.
    ///
    /// An ordinary user may not look at process 1. Then it is the machine's own if the caller is in it too and the
    /// machine's first user namespace owns it.
    pub fn is_machines_own(&self) -> bool {
        match Id::at("/proc/1/ns/net") {
            Ok(first) => first == self.id,
            Err(_) => {
                let owner = self.owner().and_then(|owner| Id::of(&owner));
                let of_machine = owner.map_or(true, |it| it.inode == FIRST_USER_NAMESPACE);
                of_machine && Id::at("/proc/self/ns/net").is_ok_and(|own| own == self.id)
            }
        }
    }

    /// Enters the user namespace that owns it, as root there: that gives an ordinary user every right in a container
    /// of theirs, and makes user ids those that the rules there name. Nothing happens where the caller is in it.
    ///
    /// The whole process enters, and does not come back. The kernel allows that to a process with one thread only.
    ///
    /// # Errors
    /// The kernel does not let the caller in, or the process has several threads.
    pub fn enter_user_namespace(&self) -> Result<(), NetError> {
        let owner = self.owner().map_err(visit(self.pid, "enter"))?;
        let entered = || {
            if Id::of(&owner)? == Id::at("/proc/self/ns/user")? {
                return Ok(());
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a user namespace, which only a whole process can enter"
            )]
            nix::sched::setns(&owner, CloneFlags::CLONE_NEWUSER)?;
            // Where it has no root, the caller keeps its ids, which are enough for all but reading legacy tables.
            let _ = setgroups(&[]);
            let root = (Gid::from_raw(0), Uid::from_raw(0));
            let _ = setresgid(root.0, root.0, root.0);
            let _ = setresuid(root.1, root.1, root.1);
            Ok(())
        };
        entered().map_err(visit(self.pid, "enter"))
    }

    /// The user namespace that owns it.
    fn owner(&self) -> io::Result<File> {
        // SAFETY: the descriptor is open, and the request takes no argument.
        let owner = unsafe { libc::ioctl(self.file.as_raw_fd(), GET_USER_NAMESPACE) };
        if owner < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just opened it for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(owner) }.into())
    }

    /// Runs a closure in it, on a thread of its own that dies with the closure; what the closure starts is in the
    /// namespace too. Where the caller is in it already, nothing is entered, and no capability is needed for that.
    ///
    /// # Errors
    /// The kernel lets the caller not enter.
    pub fn visit<T: Send>(&self, look: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let pid = self.pid;
        let work = move || {
            let here = Id::at("/proc/thread-self/ns/net").map_err(visit(pid, "enter"))?;
            if here != self.id {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "this is the thread that lives and dies in the namespace"
                )]
                nix::sched::setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| visit(pid, "enter")(errno.into()))?;
            }
            Ok(look())
        };
        let gone = || NetError::ThreadGone {
            name: format!("of process {pid}"),
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(format!("ns:pid {pid}"));
            let thread = thread
                .spawn_scoped(scope, work)
                .map_err(visit(pid, "enter"))?;
            thread.join().map_err(|_| gone())?
        })
    }
}

/// Runs a closure in the network namespace of a process, see [`ProcessNamespace::visit`].
///
/// # Errors
/// There is no such process, or the kernel lets the caller not look at it or not enter.
pub fn in_namespace_of<T: Send>(pid: u32, look: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    ProcessNamespace::open(pid)?.visit(look)
}

/// A pidfd, see pidfd_open(2).
fn process(pid: u32) -> Option<OwnedFd> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel just opened it for us, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn visit(pid: u32, what: &'static str) -> impl Fn(io::Error) -> NetError {
    move |source| NetError::Visit { pid, what, source }
}
