//! Starts a stub in the namespace of the calling thread, and turns its output into reports.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    thread,
};

use super::{NET_ADMIN_ARG, ProcessError, STUB_ARG};
use crate::plan::ProcessPlan;
use hoplab_proxies::wire::{Command as Order, Line};

/// Identifies a process in reports: its index among the processes started so far.
pub type Stub = usize;

/// Where reports go; called from the threads that read a process's output.
pub type Sink = Arc<dyn Fn(Report) + Send + Sync>;

/// Something a process did.
#[derive(Debug)]
pub struct Report {
    /// Which process.
    pub stub: Stub,
    /// What it did.
    pub what: Spawned,
}

/// What a process can do.
#[derive(Debug)]
pub enum Spawned {
    /// It wrote a line of the protocol.
    Line(Line),
    /// It wrote a line that can't be read.
    Garbled(String),
    /// It wrote a line for people.
    Stderr(String),
    /// Its output ended, and so did it.
    Exit(Exit),
}

/// How a process ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit(pub String);

/// The writing end of a stub's standard input. Dropping it asks the stub to end.
#[derive(Debug)]
pub struct Input {
    stdin: ChildStdin,
    /// Process id in the lab's PID namespace.
    pub pid: u32,
}

impl Input {
    /// Sends a command.
    ///
    /// # Errors
    /// The stub no longer reads.
    pub fn send(&mut self, order: &Order) -> io::Result<()> {
        write_line(&mut self.stdin, order)
    }
}

/// Starts a stub. Its reports go to `reports` under the number `stub`.
///
/// # Errors
/// The process can't be started, or ends before it reads its configuration.
pub fn spawn(plan: &ProcessPlan, stub: Stub, reports: &Sink) -> Result<Input, ProcessError> {
    let name = plan.name();
    let failed = |source| ProcessError::Start {
        name: name.clone(),
        source,
    };
    let role = plan.role().name();
    let groups = std::iter::once(&plan.gid).chain(&plan.groups);
    let groups: Vec<String> = groups.map(u32::to_string).collect();
    let groups = groups.join("+");
    let mut child = Command::new("/proc/self/exe")
        .arg0(format!("hoplab-{role}"))
        .args([STUB_ARG, role, &plan.config.pod])
        .args([plan.uid.to_string(), groups])
        .args(plan.net_admin.then_some(NET_ADMIN_ARG))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let pid = child.id();
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(io::Error::other("a pipe is missing")));
    };
    let lines = Arc::clone(reports);
    let complaints = thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines(Report {
                stub,
                what: Spawned::Stderr(line),
            });
        }
    });
    let lines = Arc::clone(reports);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let what = match serde_json::from_str(&line) {
                Ok(line) => Spawned::Line(line),
                Err(_) => Spawned::Garbled(line),
            };
            lines(Report { stub, what });
        }
        // The last words come before the news of the end.
        let _ = complaints.join();
        lines(Report {
            stub,
            what: Spawned::Exit(end_of(child)),
        });
    });
    // A stub that died at once breaks the pipe; its exit report tells why, better than this error would.
    let _ = write_line(&mut stdin, &plan.config);
    Ok(Input { stdin, pid })
}

fn end_of(mut child: Child) -> Exit {
    Exit(match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown end: {error}"),
    })
}

fn write_line(stdin: &mut ChildStdin, value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    stdin.write_all(&line)
}
