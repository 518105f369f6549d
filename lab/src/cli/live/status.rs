//! `hoplab status`: what runs in a lab, with process ids as the machine sees them.

use std::{fmt::Write as _, process::ExitCode};

use serde::Serialize;

use super::{Outcome, ago, name};
use crate::{
    cli::stdout::say,
    evidence::Machine,
    failure::{Class, Failure},
    live::{self, ProcessNow, RunningLab},
    rules::Family,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab status            the only lab that is up
  hoplab status bookinfo --json | jq -r '.pods[].processes[].pid'

A process id leads into its pod: nsenter -t PID -n -m iptables-nft -t nat -L -v, and without root -U and \
--preserve-credentials too. Ends with 4 when the lab is not up, or when a process of it has ended.")]
pub(in crate::cli) struct Args {
    /// Name of the lab, not needed when only one is up
    #[arg(value_parser = name)]
    name: Option<String>,
    /// Print it as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    /// Process id of the supervisor.
    pid: i32,
    /// Seconds since 1970.
    since: u64,
    /// Another command has its turn; none when the lab does not answer.
    in_use: Option<bool>,
    file: &'a str,
    rules: &'a str,
    families: Vec<Family>,
    machine: &'a Machine,
    pods: Vec<Pod<'a>>,
    /// Processes in the node.
    node: Vec<Process>,
    /// Why it is not what its file says, when changes were begun and not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished: Option<&'a str>,
}

#[derive(Serialize)]
struct Pod<'a> {
    name: &'a str,
    /// Where its rules come from, when they were replaced since the lab came up.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<&'a str>,
    /// Roles that a person has stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stopped: Vec<&'static str>,
    processes: Vec<Process>,
}

#[derive(Serialize)]
struct Process {
    role: String,
    uid: u32,
    gid: u32,
    /// Its id on the machine; none when it has ended.
    pid: Option<i32>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let lab = live::find(args.name.as_deref())?;
    let status = status(&lab);
    if args.json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|e| Failure::new(Class::State, format!("the status has no JSON form: {e}")))?;
        say(&(text + "\n"))?;
    } else {
        say(&text(&status))?;
    }
    let pods = status.pods.iter().flat_map(|pod| &pod.processes);
    let whole = pods
        .chain(&status.node)
        .all(|process| process.pid.is_some());
    Ok(match whole && status.in_use.is_some() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(Class::State.exit_code()),
    })
}

fn status(lab: &RunningLab) -> Json<'_> {
    let state = lab.state();
    let pods = state.pods.iter().map(|pod| Pod {
        name: &pod.name,
        rules: pod.rules_from.as_deref(),
        stopped: pod.stopped.iter().map(|it| it.name()).collect(),
        processes: processes(lab.now(&pod.processes)),
    });
    Json {
        name: lab.name(),
        pid: lab.pid(),
        since: state.since,
        in_use: lab.is_in_use(),
        file: state.lab.origin(),
        rules: state.lab.rules_from(),
        families: state.families.iter().collect(),
        machine: &state.machine,
        pods: pods.collect(),
        node: processes(lab.now(&state.node)),
        unfinished: state.unfinished.as_deref(),
    }
}

fn processes(now: Vec<ProcessNow>) -> Vec<Process> {
    let as_shown = |process: &ProcessNow| Process {
        role: process.came_up.role.to_string(),
        uid: process.came_up.owner.uid,
        gid: process.came_up.owner.gid,
        pid: process.pid,
    };
    now.iter().map(as_shown).collect()
}

fn text(status: &Json) -> String {
    let families: Vec<String> = status.families.iter().map(|it| it.to_string()).collect();
    let mut out = format!(
        "{}  up for {}, supervisor {}, {}\n  file   {}\n  rules  {}, backend {}, {}\n\n",
        status.name,
        ago(status.since),
        status.pid,
        match status.in_use {
            Some(true) => "used by another command",
            Some(false) => "not in use",
            None => "does not answer",
        },
        status.file,
        status.rules,
        status.machine.backend.backend.as_backend(),
        families.join(" and ")
    );
    let width = status
        .pods
        .iter()
        .map(|it| it.name.len())
        .max()
        .unwrap_or(0);
    let mut line = |name: &str, process: &Process| {
        let owner = format!("{}:{}", process.uid, process.gid);
        let pid = process
            .pid
            .map_or("has ended".to_owned(), |pid| format!("pid {pid}"));
        let _ = writeln!(out, "  {name:width$}  {:6} {owner:11} {pid}", process.role);
    };
    let first = |at: usize, name| if at == 0 { name } else { "" };
    for (at, process) in status.node.iter().enumerate() {
        line(first(at, "node"), process);
    }
    for pod in &status.pods {
        for (at, process) in pod.processes.iter().enumerate() {
            line(first(at, pod.name), process);
        }
    }
    if let Some(why) = status.unfinished {
        let _ = writeln!(
            out,
            "\n  it is not what its file says: {why}\n  hoplab up goes on from here"
        );
    }
    for pod in &status.pods {
        for role in &pod.stopped {
            let _ = writeln!(
                out,
                "\n  {role} of {} is stopped: hoplab {role} start {}",
                pod.name, pod.name
            );
        }
        if let Some(rules) = pod.rules {
            let _ = writeln!(out, "\n  the rules of {} were replaced: {rules}", pod.name);
        }
    }
    out
}
