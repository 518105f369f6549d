//! A place for the running labs of one test: never the user's own.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use hoplab::live::{self, Registry, RunningLab};

use super::{Ended, Scratch, hoplab, run};

/// What a test leaves running is taken down when it ends, however it does.
pub struct Runtime(Scratch);

impl Runtime {
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(scratch)
    }

    /// Where labs are written down.
    pub fn labs(&self) -> PathBuf {
        self.0.path().join("labs")
    }

    pub fn registry(&self) -> Registry {
        Registry::at(self.labs()).expect("a registry of our own")
    }

    /// Writes a file beside the labs and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        self.0.file(name, text)
    }

    /// `hoplab` with arguments and this place for labs.
    pub fn hoplab<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = hoplab(args);
        command.env("HOPLAB_RUNTIME_DIR", self.labs());
        command
    }

    /// Runs a command to its end; labs may stay.
    #[track_caller]
    pub fn done(&self, args: &[&str]) -> Ended {
        super::Running::start(&mut self.hoplab(args)).ended()
    }

    /// Runs a command that succeeds, and returns what it printed.
    #[track_caller]
    pub fn output(&self, args: &[&str]) -> String {
        let ended = self.done(args);
        assert!(ended.status.success(), "{args:?}: {ended:#?}");
        ended.stdout
    }

    /// A lab that is up.
    #[track_caller]
    pub fn find(&self, name: &str) -> RunningLab {
        live::find_in(&self.registry(), Some(name)).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Process id of a lab's supervisor.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        self.find(name).pid()
    }

    /// Takes down a lab, with nothing of it left.
    #[track_caller]
    pub fn down(&self, name: &str) -> Ended {
        let ended = run(&mut self.hoplab(&["down", name]));
        assert!(ended.status.success(), "{ended:#?}");
        ended
    }

    /// Fails unless no lab is written down.
    #[track_caller]
    pub fn assert_empty(&self) {
        let names = self.registry().names().expect("it is readable");
        assert_eq!(names, [""; 0]);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let registry = self.registry();
        for name in registry.names().unwrap_or_default() {
            // A test that passed has left none; one that failed says so itself.
            let _ = live::down(&registry, &name, || ());
        }
    }
}
