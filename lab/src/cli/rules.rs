//! `hoplab rules`: rule sets without a lab. One file per subcommand.

#[cfg(all(feature = "kernel", target_os = "linux"))]
mod apply;
mod lint;
mod read_counters;
mod render;
mod show;

use clap::Subcommand;

use super::Outcome;
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
use super::needs_kernel as apply;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the rules Istio, Kuma or Linkerd writes for a configuration
    Render(Box<render::Args>),
    /// Show rules in another form, or in words
    Show(show::Args),
    /// Apply rules to a pod that may have some: twice, over others, cleaning up
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(about = "Apply rules to a pod (not in this build: needs Linux)")
    )]
    Apply(Box<apply::Args>),
    /// Say what is wrong with a rule set before any traffic
    Lint(lint::Args),
    /// Say what the counters of a dump mean: connections per kind of flow, sums, rules never hit
    ReadCounters(read_counters::Args),
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Render(args) => render::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Apply(args) => apply::run(args),
        Verb::Lint(args) => lint::run(args),
        Verb::ReadCounters(args) => read_counters::run(args),
    }
}
