//! `hoplab doctor`: what this machine can and can't do.

use std::process::ExitCode;

use super::Outcome;
use crate::{
    failure::{Class, Failure},
    sandbox::{
        Supervisor,
        protocol::{Message, Request},
    },
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print the checks as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut supervisor = Supervisor::start()?;
    supervisor.send(&Request::Doctor)?;
    match supervisor.receive()? {
        Message::Checks(checks) => {
            if args.json {
                anstream::println!(
                    "{}",
                    serde_json::to_string_pretty(&checks).unwrap_or_default()
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Message::Failed(failure) => Err(failure),
        other => Err(Failure::new(
            Class::State,
            format!("the supervisor answered something else: {other:?}"),
        )),
    }
}
