//! `hoplab rules`: rule sets without a lab. One file per subcommand.

#[cfg(all(feature = "kernel", target_os = "linux"))]
mod apply;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod cover;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod diff;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod edit;
mod lint;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod mutate;
mod read_counters;
mod render;
mod show;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod snapshot;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod to_pod;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod tried;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod verify;

use clap::Subcommand;

use super::Outcome;
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
use super::{
    needs_kernel as apply, needs_kernel as cover, needs_kernel as diff, needs_kernel as edit,
    needs_kernel as mutate, needs_kernel as snapshot, needs_kernel as verify,
};
use crate::rules::{self, RuleSet};

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
    /// Edit the rules of a pod of a running lab, and see what that changes before it does
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Edit the rules of a pod of a running lab (not in this build: needs Linux)"
        )
    )]
    Edit(edit::Args),
    /// Say what two rule sets do differently to traffic, with the kernel as judge
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Say what two rule sets do differently to traffic (not in this build: needs Linux)"
        )
    )]
    Diff(Box<diff::Args>),
    /// Write down what a rule set does to traffic, for a repository to keep
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Write down what a rule set does to traffic (not in this build: needs Linux)"
        )
    )]
    Snapshot(snapshot::Args),
    /// Hold a rule set against what was written down
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Hold a rule set against what was written down (not in this build: needs Linux)"
        )
    )]
    Verify(verify::Args),
    /// Say which rules flows or a run met, and why the others were not
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(about = "Say which rules flows or a run met (not in this build: needs Linux)")
    )]
    Cover(cover::Args),
    /// Make mistakes in a rule set, one at a time, and see which flows notice
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Make mistakes in a rule set and see which flows notice (not in this build: needs Linux)"
        )
    )]
    Mutate(Box<mutate::Args>),
    /// Say what is wrong with a rule set before any traffic
    Lint(lint::Args),
    /// Say what the counters of a dump mean: connections per kind of flow, sums, rules never hit
    ReadCounters(read_counters::Args),
}

/// Names on standard error the rules that hoplab repeats but does not understand.
fn say_not_modelled(sets: &[RuleSet]) {
    for set in sets {
        let all = set.tables.keys().flat_map(|table| set.rules(*table));
        for (id, rule) in all.filter(|(_, rule)| !rule.spec.is_modelled()) {
            let text = rules::spec_text(&id.chain, &rule.spec);
            anstream::eprintln!("note: {} {id} is not modelled: {text}", set.family);
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Render(args) => render::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Apply(args) => apply::run(args),
        Verb::Edit(args) => edit::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Snapshot(args) => snapshot::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Cover(args) => cover::run(args),
        Verb::Mutate(args) => mutate::run(args),
        Verb::Lint(args) => lint::run(args),
        Verb::ReadCounters(args) => read_counters::run(args),
    }
}
