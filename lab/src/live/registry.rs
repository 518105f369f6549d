//! One directory per lab, with a lock, the state file and the control socket.
//!
//! Whoever changes such a directory holds its lock, flock(2) on the directory itself: the kernel frees it when the
//! command dies. A lab is there when its supervisor lives; what is written down says only which process that is.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    unistd::Uid,
};

use super::{
    LiveError, ProcessId, State, readings,
    state::{self, Read},
};
use crate::{Lab, failure::Failure, topology::is_name};

/// Sets the directory of running labs.
pub const RUNTIME_DIR: &str = "HOPLAB_RUNTIME_DIR";

/// Name of the control socket in a lab's directory.
const SOCKET: &str = "control.sock";

/// All that a lab's directory holds.
const OURS: [&str; 5] = [
    state::FILE,
    state::UNFINISHED,
    SOCKET,
    readings::FILE,
    readings::UNFINISHED,
];

/// The directory that holds one for each lab.
#[derive(Debug, Clone)]
pub struct Registry(PathBuf);

/// How things stand with a directory of the registry.
#[derive(Debug)]
pub enum Standing {
    /// Its supervisor lives.
    Up(Box<State>),
    /// Its supervisor lives, but the rest was written by another version of hoplab; in words.
    Other(ProcessId, String),
    /// A command is bringing it up, or what was not up yet is just ending.
    Unsettled,
    /// Its supervisor is gone, or never was; nothing but this directory is left of it.
    Stale(Option<Box<State>>),
    /// Not a lab's: this entry in it no lab has.
    Foreign(String),
}

/// A lab's place in the registry, held by this command alone.
#[derive(Debug)]
pub struct Claim {
    pub(super) dir: PathBuf,
    lock: Flock<File>,
    /// Not up yet: nothing may stay when it does not get there.
    unfinished: bool,
}

impl Registry {
    /// The registry of this user: `$HOPLAB_RUNTIME_DIR`, else `/run/hoplab` for root, else `$XDG_RUNTIME_DIR/hoplab`,
    /// else one in the directory for temporary files. For root `$XDG_RUNTIME_DIR` does not count: it depends on how
    /// one became root, and every way is to find the same labs.
    ///
    /// # Errors
    /// It is there, and not ours alone.
    pub fn of_user() -> Result<Self, LiveError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let uid = Uid::effective();
        let dir = match (variable(RUNTIME_DIR), variable("XDG_RUNTIME_DIR")) {
            (Some(dir), _) => PathBuf::from(dir),
            _ if uid.is_root() => PathBuf::from("/run/hoplab"),
            (None, Some(dir)) => PathBuf::from(dir).join("hoplab"),
            (None, None) => std::env::temp_dir().join(format!("hoplab-{uid}")),
        };
        Self::at(dir)
    }

    /// The registry in a directory, which need not be there.
    ///
    /// # Errors
    /// It is there, and not ours alone.
    pub fn at(dir: impl Into<PathBuf>) -> Result<Self, LiveError> {
        let registry = Self(dir.into());
        registry.is_ours()?;
        Ok(registry)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Names of everything in it, in alphabetical order; a registry that is not there is empty.
    ///
    /// # Errors
    /// It can't be read.
    pub fn names(&self) -> Result<Vec<String>, LiveError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed("read", &self.0)(source)),
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// How things stand with a name; none when nothing has it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn standing(&self, name: &str) -> Result<Option<Standing>, LiveError> {
        let dir = self.0.join(name);
        let metadata = match dir.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("look at", &dir)(source)),
        };
        if !metadata.is_dir() || !is_name(name) {
            return Ok(Some(Standing::Foreign(name.to_owned())));
        }
        if let Some(entry) = foreign(&dir)? {
            return Ok(Some(Standing::Foreign(entry)));
        }
        let standing = settled(&dir);
        // Only one that is not up can be coming up. Its state may have been written since it was read.
        if !matches!(standing, Standing::Up(_) | Standing::Other(..)) && is_locked(&dir) {
            return Ok(Some(match settled(&dir) {
                Standing::Stale(_) => Standing::Unsettled,
                now => now,
            }));
        }
        Ok(Some(standing))
    }

    /// Holds a lab's place, which is made if need be. Calls `wait` once before it waits for another command that holds
    /// it.
    ///
    /// # Errors
    /// The registry can't be written to, or something else has that place.
    pub fn claim(&self, name: &str, wait: impl Fn()) -> Result<Claim, LiveError> {
        // Its own directory only: one whose parent is missing was named by mistake.
        make(&self.0)?;
        self.is_ours()?;
        let dir = self.0.join(name);
        loop {
            let made = make(&dir)?;
            let opened = match open_dir(&dir) {
                // Removed since by the one who had it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed("open", &dir))?,
            };
            let lock = lock(opened, &wait).map_err(|errno| failed("lock", &dir)(errno.into()))?;
            // The one who had it may have removed the directory: then the lock is on nothing.
            let (held, there) = (lock.metadata(), fs::symlink_metadata(&dir));
            let same = held.is_ok_and(|held| {
                there.is_ok_and(|there| (held.dev(), held.ino()) == (there.dev(), there.ino()))
            });
            if !same {
                continue;
            }
            if let Some(entry) = foreign(&dir)? {
                return Err(LiveError::Foreign { path: dir, entry });
            }
            return Ok(Claim {
                dir,
                lock,
                // Another may have had the lock first, and brought up its lab in the directory this one made.
                unfinished: made && matches!(settled(&self.0.join(name)), Standing::Stale(None)),
            });
        }
    }

    /// Connects to a lab's control socket.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self, name: &str) -> Result<UnixStream, LiveError> {
        let connect = || {
            let dir = open_dir(&self.0.join(name))?;
            UnixStream::connect(through(&dir))
        };
        let name = name.to_owned();
        connect().map_err(|source| LiveError::Deaf { name, source })
    }

    fn is_ours(&self) -> Result<(), LiveError> {
        let metadata = match self.0.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(failed("look at", &self.0)(source)),
        };
        let why = match metadata.mode() & 0o777 {
            _ if !metadata.is_dir() => "it is not a directory".to_owned(),
            _ if metadata.uid() != Uid::effective().as_raw() => {
                format!("it belongs to user {}", metadata.uid())
            }
            0o700 => return Ok(()),
            mode => format!("its mode is {mode:o}, not 700"),
        };
        let path = self.0.clone();
        Err(LiveError::Unsafe { path, why })
    }
}

impl Claim {
    /// How things stand, with nobody else at work.
    pub fn standing(&self) -> Standing {
        settled(&self.dir)
    }

    /// Clears the place for a lab that comes up, and makes its control socket. Until [`Self::keep`], nothing stays
    /// when the claim is dropped.
    ///
    /// # Errors
    /// The socket can't be made.
    pub fn listen(&mut self) -> Result<UnixListener, LiveError> {
        self.unfinished = true;
        self.clear();
        UnixListener::bind(through(&self.lock)).map_err(failed("make a socket in", &self.dir))
    }

    /// Writes down a lab that is up, under the name of this place, and lets it go: it lives on after this process.
    ///
    /// # Errors
    /// The state can't be written, or the lab is gone already; then nothing stays.
    pub fn keep(mut self, name: &str, lab: Lab) -> Result<(), Failure> {
        let state = State::of(name, &lab).map_err(failed("tell the supervisor of", &self.dir))?;
        state
            .write(&self.dir)
            .map_err(failed("write the state to", &self.dir))?;
        lab.keep()?;
        self.unfinished = false;
        Ok(())
    }

    /// Gives up the place of a lab that is gone. Only what is ours is removed.
    ///
    /// # Errors
    /// The directory can't be removed.
    pub fn remove(self) -> Result<(), LiveError> {
        self.clear();
        fs::remove_dir(&self.dir).map_err(failed("remove", &self.dir))
    }

    fn clear(&self) {
        for name in OURS {
            // What can't be removed shows when the directory is.
            let _ = fs::remove_file(self.dir.join(name));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.unfinished {
            self.clear();
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// What the state file and /proc say.
fn settled(dir: &Path) -> Standing {
    match State::read(dir) {
        Read::State(state) if state.supervisor.open().is_some() => Standing::Up(state),
        Read::State(state) => Standing::Stale(Some(state)),
        Read::Other(process, why) if process.open().is_some() => Standing::Other(process, why),
        Read::Other(..) => Standing::Stale(None),
        // Nobody says which process it is: one that still has the socket is there all the same.
        Read::Broken | Read::Nothing if has_listener(dir) => Standing::Unsettled,
        Read::Broken | Read::Nothing => Standing::Stale(None),
    }
}

fn has_listener(dir: &Path) -> bool {
    open_dir(dir).is_ok_and(|dir| UnixStream::connect(through(&dir)).is_ok())
}

/// The first entry of a directory that no lab has.
fn foreign(dir: &Path) -> Result<Option<String>, LiveError> {
    let entries = fs::read_dir(dir).map_err(failed("read", dir))?;
    let mut names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.find(|name| !OURS.contains(&name.as_str())))
}

/// False when it was there.
fn make(dir: &Path) -> Result<bool, LiveError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(failed("make the directory", dir)(source)),
    }
}

fn open_dir(dir: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits()).open(dir)
}

/// The address of the control socket in an open directory: the path of a socket has room for 107 bytes only.
fn through(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn lock(dir: File, wait: &impl Fn()) -> Result<Flock<File>, Errno> {
    let mut dir = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((dir, Errno::EWOULDBLOCK)) => dir,
        Err((_, errno)) => return Err(errno),
    };
    wait();
    loop {
        match Flock::lock(dir, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EINTR)) => dir = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

fn is_locked(dir: &Path) -> bool {
    let Ok(dir) = open_dir(dir) else { return false };
    matches!(
        Flock::lock(dir, FlockArg::LockSharedNonblock),
        Err((_, Errno::EWOULDBLOCK))
    )
}

pub(super) fn failed(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> LiveError + use<> {
    let path = path.to_path_buf();
    move |source| LiveError::File { what, path, source }
}
