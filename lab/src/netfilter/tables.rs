//! Runs iptables-save in the namespace the calling thread is in.

use std::process::{Command, Output, Stdio};

use super::{
    NetfilterError,
    backend::{Backend, Tool},
};
use crate::rules::{self, CounterSnapshot, Family, RuleSet};

/// A program that ran: its command line as a person would type it, and what came of it.
pub(super) struct Ran {
    pub command: String,
    pub output: Output,
}

/// How a program ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its command line.
    pub command: String,
    /// Exit status.
    pub status: String,
    /// It succeeded.
    pub ok: bool,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl From<Ran> for Ended {
    fn from(ran: Ran) -> Self {
        Self {
            command: ran.command,
            status: ran.output.status.to_string(),
            ok: ran.output.status.success(),
            stderr: String::from_utf8_lossy(&ran.output.stderr)
                .trim_end()
                .to_owned(),
        }
    }
}

/// Runs iptables (or ip6tables) itself in the namespace the calling thread is in, whatever comes of it.
///
/// # Errors
/// The program is missing or can't run.
pub fn edit(
    backend: Backend,
    family: Family,
    args: &[&str],
    pod: &str,
) -> Result<Ended, NetfilterError> {
    run(backend, family, Tool::Edit, args, pod).map(Ended::from)
}

pub(super) fn run(
    backend: Backend,
    family: Family,
    tool: Tool,
    args: &[&str],
    pod: &str,
) -> Result<Ran, NetfilterError> {
    let path = backend.find(family, tool)?;
    let command = std::iter::once(backend.program(family, tool).as_str())
        .chain(args.iter().copied())
        .collect::<Vec<_>>()
        .join(" ");
    let output = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| NetfilterError::Run {
            command: command.clone(),
            pod: pod.to_string(),
            source,
        })?;
    Ok(Ran { command, output })
}

pub(super) fn stdout_of(ran: Ran, pod: &str) -> Result<(String, String), NetfilterError> {
    if ran.output.status.success() {
        let text = String::from_utf8_lossy(&ran.output.stdout).into_owned();
        return Ok((ran.command, text));
    }
    Err(NetfilterError::Failed {
        command: ran.command,
        pod: pod.to_string(),
        status: ran.output.status.to_string(),
        words: String::from_utf8_lossy(&ran.output.stderr)
            .trim_end()
            .to_string(),
    })
}

/// Rules of all tables and their counters, as `iptables-save -c` (or ip6tables) prints them in this namespace.
///
/// # Errors
/// The program is missing, can't run, fails, or prints what can't be read.
pub fn save(backend: Backend, family: Family, pod: &str) -> Result<RuleSet, NetfilterError> {
    let ran = run(backend, family, Tool::Save, &["-c"], pod)?;
    let (command, text) = stdout_of(ran, pod)?;
    rules::parse(&text, family, &command).map_err(|source| NetfilterError::Unreadable {
        command: command.clone(),
        pod: pod.to_string(),
        source: Box::new(source),
    })
}

/// What `iptables-save` (or ip6tables-save) prints in this namespace, word for word.
///
/// # Errors
/// The program is missing, can't run, or fails.
pub fn dump(backend: Backend, family: Family, pod: &str) -> Result<String, NetfilterError> {
    let ran = run(backend, family, Tool::Save, &[], pod)?;
    stdout_of(ran, pod).map(|(_, text)| text)
}

/// The counters in a save that has them.
///
/// # Errors
/// A rule came without counters.
pub fn counters(rules: &RuleSet, pod: &str) -> Result<CounterSnapshot, NetfilterError> {
    CounterSnapshot::new(rules).map_err(|source| NetfilterError::Counters {
        pod: pod.to_string(),
        source,
    })
}

/// Version line of the backend's iptables, such as `iptables v1.8.9 (nf_tables)`.
///
/// # Errors
/// The program is missing or can't run.
pub fn version(backend: Backend) -> Result<String, NetfilterError> {
    let ran = run(
        backend,
        Family::V4,
        Tool::Restore,
        &["--version"],
        "the node",
    )?;
    let (_, text) = stdout_of(ran, "the node")?;
    // The program prints its own name first, which says `-restore`.
    let version = text
        .split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ");
    Ok(format!("iptables {version}"))
}
