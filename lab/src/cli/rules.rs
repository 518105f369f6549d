//! `hoplab rules`: rule sets without a lab. One file per subcommand.

mod render;

use clap::Subcommand;

use super::Outcome;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the rules Istio writes for a configuration
    Render(Box<render::Args>),
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Render(args) => render::run(args),
    }
}
