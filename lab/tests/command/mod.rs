//! Runs the `hoplab` binary and looks at what it leaves on the machine.
#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]

#[cfg(feature = "kernel")]
pub mod netns;
#[cfg(feature = "kernel")]
pub mod runtime;
#[cfg(feature = "kernel")]
pub mod terminal;
pub mod traces;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(feature = "kernel")]
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A lab of two pods, `small`: a caller without a sidecar, and the pod it calls.
pub const SMALL: &str = include_str!("small.toml");

/// Longest wait for anything; what takes longer is not going to happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test.
pub const HOPLAB: &str = env!("CARGO_BIN_EXE_hoplab");

/// A command that runs, with its standard error as it comes.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stderr: String,
    /// None once it was taken.
    stdout: Option<thread::JoinHandle<String>>,
    /// In the environment of it and of whatever it starts: `NAME=value`.
    mark: String,
}

/// A command that ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// `hoplab` with arguments. It has no place for labs that stay up: a test that wants one has a `Runtime`.
pub fn hoplab<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(HOPLAB);
    command
        .args(args)
        .env("HOPLAB_RUNTIME_DIR", "/nonexistent/labs");
    command
}

/// Runs a command to its end, and fails if a process that it started is still there then.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    let running = Running::start(command);
    let mark = running.mark.clone();
    let ended = running.ended();
    let left = || traces::with_environment(&mark).count();
    wait_for("the end of what it started", || (left() == 0).then_some(()));
    ended
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command, Stdio::null())
    }

    pub fn start_with_input(command: &mut Command, stdin: Stdio) -> Self {
        const MARK: &str = "HOPLAB_TEST_RUN";
        let value = format!("{}-{}", std::process::id(), number());
        let mark = format!("{MARK}={value}");
        let mut child = command
            .env(MARK, value)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
        let stderr = child.stderr.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stdout = thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map(|line| line + "\n").collect()
        });
        Self {
            child,
            lines,
            stderr: String::new(),
            stdout: Some(stdout),
            mark,
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive")
    }

    /// Waits until it writes a line to standard error that begins with this, and returns the rest of the line.
    #[track_caller]
    pub fn says(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        while let Some(line) = self.line(deadline) {
            if let Some(rest) = line.strip_prefix(wanted) {
                return rest.to_string();
            }
        }
        panic!("it never said `{wanted}`, but:\n{}", self.stderr);
    }

    /// Waits for its end; what it started may go on, and write.
    #[track_caller]
    pub fn exits(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the end of the command", || {
            child.try_wait().expect("it is a child of ours")
        })
    }

    /// Waits for its end, and for the end of everything it started that writes to its standard error.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let status = self.exits();
        let deadline = Instant::now() + DEADLINE;
        while self.line(deadline).is_some() {}
        let stdout = self.stdout.take().expect("nobody else takes it");
        Ended {
            status,
            stdout: stdout.join().expect("the reader does not panic"),
            stderr: std::mem::take(&mut self.stderr),
        }
    }

    /// The next line of standard error; none at its end, or at the deadline.
    fn line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left).ok()?;
        self.stderr += &line;
        self.stderr.push('\n');
        Some(line)
    }
}

#[cfg(feature = "kernel")]
impl Drop for Running {
    /// A test that fails leaves nobody behind: one that was told to stand still would do so for ever.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for pid in traces::with_environment(&self.mark) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails unless it ended with this code and wrote every one of these to standard error.
    #[track_caller]
    pub fn failed_with(&self, code: i32, parts: &[&str]) {
        let missing: Vec<_> = parts
            .iter()
            .filter(|part| !self.stderr.contains(**part))
            .collect();
        assert!(
            self.status.code() == Some(code) && missing.is_empty(),
            "wanted exit code {code}, had {}; not said: {missing:#?}\n--- stderr\n{}\n--- stdout\n{}",
            self.status,
            self.stderr,
            self.stdout
        );
    }
}

/// A number that no other caller in this process gets.
fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Asks again and again until there is an answer.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "how often the condition is asked, and nothing is taken for granted after it: processes of a namespace \
              that end, or a state in /proc, send nobody an event"
)]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of one test's own, open to every user, gone at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let name = format!("hoplab-test-{}-{}", std::process::id(), number());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the directory is writable");
        path.display().to_string()
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
