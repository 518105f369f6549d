//! `hoplab conntrack`: the connections that conntrack of a pod knows.

use std::process::ExitCode;

use super::{Outcome, pod::PodOfLab};
use crate::{
    cli::stdout::say,
    failure::{Class, Failure},
    netfilter::conntrack_here,
    report::{conntrack_json, conntrack_text},
};

#[derive(clap::Args)]
#[command(after_help = "\
ORIGINAL is the connection as its first packet came, REPLY as its answers do. They mirror each other unless NAT says what \
is translated: `destination → A` was turned to A (REDIRECT, DNAT). PACKETS are those of the opener and of the answer. \
TCP and UDP; what is open first. Conntrack works in pods with rules only.

Examples:
  hoplab conntrack reviews-v1
  hoplab conntrack reviews-v1 --json | jq '.[] | select(.nat == \"destination\")'")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: PodOfLab,
    /// Print the entries as a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let namespace = args.place.find()?.namespace_of(&args.place.pod)?;
    // While there is one thread.
    namespace.enter_user_namespace()?;
    let entries = namespace.visit(conntrack_here)??;
    let text = match args.json {
        true => conntrack_json(&entries).map_err(|e| {
            Failure::new(Class::State, format!("the entries have no JSON form: {e}"))
        })?,
        false => conntrack_text(&entries),
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}
