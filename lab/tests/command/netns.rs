//! A network namespace with a process in it, made by util-linux: as root, or in a user namespace of the caller's.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use nix::unistd::Uid;

/// Ends with its one process, which ends with the test.
pub struct Netns {
    process: Child,
}

impl Netns {
    #[allow(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        if !Uid::effective().is_root() {
            // One after the other: /proc/net of a network namespace is for the root its user namespace has by then.
            command.args(["--user", "--map-root-user", "--map-auto", "unshare"]);
        }
        // `cat` ends when its standard input does.
        let mut process = command
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut ready);
        assert_eq!((read.ok(), ready.as_str()), (Some(6), "ready\n"));
        Self { process }
    }

    /// Id of the process in it.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A command in it.
    pub fn inside<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.nsenter(&["--net"]);
        command.args(words).env("XTABLES_LOCKFILE", self.lock());
        command
    }

    /// A command outside of it, with the right to enter.
    pub fn beside<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        match Uid::effective().is_root() {
            true => {
                let mut command = Command::new(words[0].as_ref());
                command.args(&words[1..]);
                command
            }
            false => {
                let mut command = self.nsenter(&[]);
                command.args(words);
                command
            }
        }
    }

    /// Standard output of a command in it that succeeds, given `input`.
    #[track_caller]
    pub fn output(&self, words: &[&str], input: &str) -> String {
        let mut child = self
            .inside(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{words:?} {status}\n{stderr}\n{input}");
        String::from_utf8(stdout).expect("text")
    }

    /// Legacy iptables would lock, or fail to lock, the file of the machine.
    fn lock(&self) -> PathBuf {
        std::env::temp_dir().join(format!("hoplab-test-{}.lock", self.pid()))
    }

    fn nsenter(&self, more: &[&str]) -> Command {
        enter(self.pid(), more)
    }
}

/// A command in namespaces of a process, which is to follow: as an ordinary user with the rights that the owner of its user
/// namespace has there.
pub fn enter(pid: impl std::fmt::Display, namespaces: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string()]);
    if !Uid::effective().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(namespaces).arg("--");
    command
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        let _ = std::fs::remove_file(self.lock());
    }
}
