//! `hoplab explain`: a connection's way, hop by hop.

mod from_file;

use std::{path::PathBuf, process::ExitCode};

use super::{Outcome, stdout::say};
use crate::{
    failure::{Class, Failure},
    path::Path,
    report::{Detail, path_text},
    rules::Family,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab explain --from out/evidence.ndjson ingress-reviews-v2       a flow of a recorded run, by its name
  hoplab explain --from out/evidence.ndjson 'client -> reviews-v1:9080'")]
pub(super) struct Args {
    /// FROM -> TO in one argument or three, or the name of a flow
    #[arg(required = true, value_name = "FLOW", num_args = 1..=3)]
    flow: Vec<String>,
    /// Explain a flow of a recorded run; - is standard input. Needs no root
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Of a run over both families: which one
    #[arg(long, value_parser = super::family)]
    family: Option<Family>,
    /// Everything, every hook with the interface, and process ids
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Only what matched
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    quiet: bool,
    /// Print the path as one JSON value
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let asked = args.flow.join(" ");
    let path = match &args.from {
        Some(file) => from_file::path(file, &asked, args.family)?,
        None => return Err(Failure::new(Class::Input, "not yet")),
    };
    say(&shown(args, &path)?)?;
    Ok(exit_code(&path))
}

fn shown(args: &Args, path: &Path) -> Result<String, Failure> {
    if args.json {
        let text = serde_json::to_string_pretty(path)
            .map_err(|e| Failure::new(Class::State, format!("the path has no JSON form: {e}")))?;
        return Ok(text + "\n");
    }
    let detail = match (args.quiet, args.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Normal,
    };
    Ok(path_text(path, detail))
}

/// Witnesses that contradict each other are a finding; what was lost makes the path incomplete.
fn exit_code(path: &Path) -> ExitCode {
    match path.hops().any(|it| !it.contradictions.is_empty()) {
        true => ExitCode::from(1),
        false if !path.lost.is_empty() => ExitCode::from(Class::Incomplete.exit_code()),
        false => ExitCode::SUCCESS,
    }
}
