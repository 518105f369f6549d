//! `hoplab doctor`: what this machine can and can't do.

use std::process::ExitCode;

use serde::Serialize;

use super::Outcome;
use crate::{
    doctor::{self, Ability, Check},
    failure::{Class, Failure},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab doctor
  hoplab doctor --json | jq .can_run

Tries everything in a scratch sandbox of its own and leaves nothing behind. Ends with 0 when a lab can run with at \
least one backend, else with 3.")]
pub(super) struct Args {
    /// Print the checks, and what can run, as JSON on standard output
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    /// A line for every match and target of the rules
    #[arg(short, long)]
    verbose: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    checks: &'a [Check],
    /// Families by backend.
    can_run: &'a Ability,
}

pub(super) fn run(args: &Args) -> Outcome {
    let checks = doctor::examine();
    let can_run = Ability::of(&checks);
    if args.json {
        let json = Json {
            checks: &checks,
            can_run: &can_run,
        };
        let text = serde_json::to_string_pretty(&json).map_err(|e| {
            Failure::new(Class::State, format!("the checks have no JSON form: {e}"))
        })?;
        anstream::println!("{text}");
    } else {
        anstream::print!("{}", doctor::text(&checks, args.verbose));
    }
    Ok(if can_run.any() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Class::Machine.exit_code())
    })
}
