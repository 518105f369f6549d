//! `hoplab rules`: rule sets without a lab. One file per subcommand.

mod apply;
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
    /// Print the rules Istio writes for a configuration
    Render(Box<render::Args>),
    /// Apply rules to a pod that may have some: twice, over others, cleaning up
    Apply(Box<apply::Args>),
    /// Say what is wrong with a rule set before any traffic
    Lint(lint::Args),
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Render(args) => render::run(args),
        Verb::Apply(args) => apply::run(args),
        Verb::Lint(args) => lint::run(args),
    }
}
