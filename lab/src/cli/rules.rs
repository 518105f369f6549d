//! `hoplab rules`: rule sets without a lab. One file per subcommand.

mod lint;
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
    /// Print the rules Istio, Kuma or Linkerd writes for a configuration
    Render(Box<render::Args>),
    /// Say what is wrong with a rule set before any traffic
    Lint(lint::Args),
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Render(args) => render::run(args),
        Verb::Lint(args) => lint::run(args),
    }
}
