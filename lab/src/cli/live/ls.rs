//! `hoplab ls`: the labs that stay up.

use std::process::ExitCode;

use serde::Serialize;

use super::{Outcome, ago};
use crate::{
    cli::stdout::say,
    failure::{Class, Failure},
    live::{Registry, Standing, State},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab ls
  hoplab ls --json | jq -r '.[].name'

STATE is `up`, `stale` (its supervisor has ended: hoplab prune), `unsettled` (a command is bringing it up), or \
`other version` (started by another hoplab: it can be taken down).")]
pub(in crate::cli) struct Args {
    /// Print the labs as a JSON array on standard output
    #[arg(long)]
    json: bool,
}

/// A lab as `--json` prints it.
#[derive(Serialize)]
struct Line {
    name: String,
    state: &'static str,
    /// Process id of its supervisor.
    pid: Option<i32>,
    /// Seconds since 1970.
    since: Option<u64>,
    pods: Option<usize>,
    rules: Option<String>,
    file: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let registry = Registry::of_user()?;
    let mut lines = Vec::new();
    for name in registry.names()? {
        // One that went away since needs no line.
        if let Some(standing) = registry.standing(&name)? {
            lines.extend(line(name, standing));
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&lines)
            .map_err(|e| Failure::new(Class::State, format!("the list has no JSON form: {e}")))?;
        say(&(text + "\n"))?;
    } else if lines.is_empty() {
        anstream::eprintln!("no lab is up; bring one up: hoplab up bookinfo");
    } else {
        say(&table(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(name: String, standing: Standing) -> Option<Line> {
    let line = |state, pid, of: Option<Box<State>>| Line {
        name,
        state,
        pid,
        since: of.as_ref().map(|it| it.since),
        pods: of.as_ref().map(|it| it.pods.len()),
        rules: of.as_ref().map(|it| it.lab.rules_from().to_owned()),
        file: of.as_ref().map(|it| it.lab.origin().to_owned()),
    };
    match standing {
        Standing::Up(state) => Some(line("up", Some(state.supervisor.pid), Some(state))),
        Standing::Other(process, _) => Some(line("other version", Some(process.pid), None)),
        Standing::Unsettled => Some(line("unsettled", None, None)),
        Standing::Stale(state) => Some(line("stale", None, state)),
        Standing::Foreign(_) => None,
    }
}

fn table(lines: &[Line]) -> String {
    let width = lines
        .iter()
        .map(|it| it.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut out = format!(
        "{:width$}  {:13}  {:>7}  {:>6}  {:>4}  RULES\n",
        "NAME", "STATE", "PID", "AGE", "PODS"
    );
    for line in lines {
        let or_dash = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
        out += &format!(
            "{:width$}  {:13}  {:>7}  {:>6}  {:>4}  {}\n",
            line.name,
            line.state,
            or_dash(line.pid.map(|it| it.to_string())),
            or_dash(line.since.map(ago)),
            or_dash(line.pods.map(|it| it.to_string())),
            or_dash(line.rules.clone()),
        );
    }
    out
}
