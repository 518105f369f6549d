//! The command line: one file per verb.

mod check;
mod completions;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod doctor;
mod explain;
mod harmless;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod interrupt;
mod istio;
mod judge;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod keep;
mod lab_files;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod live;
mod man;
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
mod needs_kernel;
mod predict;
mod profiles;
mod recorded;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod recording;
mod report;
mod rules;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod run;
mod show;
mod source;
mod stdout;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod trace;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, Parser, Subcommand};

use crate::{failure::Failure, rules::Family};

#[cfg(not(all(feature = "kernel", target_os = "linux")))]
use self::{
    needs_kernel as doctor, needs_kernel as live, needs_kernel as run, needs_kernel as trace,
};

/// Builds pod-like network namespaces, applies istio-init's rules, sends real traffic, and proves every hop.
#[derive(Parser)]
#[command(name = "hoplab", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    /// When to colour the output; NO_COLOR is respected too
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    color: ColorChoice,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 as expected, 1 a claim was refuted, 2 a flag or file is wrong, 3 this machine can't,
4 the lab is in no state for it, 5 evidence is incomplete, 130 and 143 after SIGINT and SIGTERM.";

#[derive(Subcommand)]
enum Verb {
    /// Bring up a lab, send its flows, judge every hop, take it down
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(about = "Bring up a lab and judge its flows (not in this build: needs Linux)")
    )]
    Run(run::Args),
    /// Look at lab files without bringing anything up: words, references, rules
    Check(check::Args),
    #[command(flatten)]
    Live(live::Verb),
    /// Show connections in a pod, or where a process is, rule by rule, while they happen
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(
            about = "Show connections rule by rule, while they happen (not in this build: needs Linux)"
        )
    )]
    Trace(trace::Args),
    /// Say what rules do to a packet, and why, without root and without traffic
    Predict(predict::Args),
    /// Show a connection's way hop by hop: every rule asked, which matched, why the others did not, and who saw it
    Explain(explain::Args),
    /// Judge a run by its evidence file, on any machine
    Judge(judge::Args),
    /// Print a run from its evidence file as text, JSON or JUnit
    Report(report::Args),
    /// Work with rule sets: render a mesh's own, show, lint, apply, read counters
    Rules(rules::Args),
    /// List the rule sets that have a name, or print one
    Profiles(profiles::Args),
    /// Say what this machine can and can't do, and how to repair it
    #[cfg_attr(
        not(all(feature = "kernel", target_os = "linux")),
        command(about = "Say what this machine can and can't do (not in this build: needs Linux)")
    )]
    Doctor(doctor::Args),
    /// Print a script that completes words of the command line in a shell
    Completions(completions::Args),
    /// Write manual pages to a directory
    Man(man::Args),
}

/// What a verb ends with.
type Outcome = Result<ExitCode, Failure>;

/// Runs the command line.
pub fn main() -> ExitCode {
    completions::answer(Cli::command);
    let cli = Cli::parse_from(explain::with_arrows(std::env::args_os()));
    match cli.color {
        ColorChoice::Auto => {}
        ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let outcome = match cli.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Live(verb) => live::dispatch(&verb),
        Verb::Trace(args) => trace::run(&args),
        Verb::Predict(args) => predict::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Judge(args) => judge::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::Profiles(args) => profiles::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            let words = failure.to_string();
            anstream::eprintln!("error: {}", harmless::harmless(&words));
            ExitCode::from(failure.class.exit_code())
        }
    }
}

/// A family as flags spell it.
fn family(text: &str) -> Result<Family, String> {
    match text {
        "ipv4" | "4" => Ok(Family::V4),
        "ipv6" | "6" => Ok(Family::V6),
        _ => Err("ipv4 or ipv6".into()),
    }
}

/// `1 rule`, `2 rules`.
fn times(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verbs without subcommands, as a person writes them.
    #[cfg(all(feature = "kernel", target_os = "linux"))]
    fn verbs(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let below = command.get_subcommands().filter(|it| !it.is_hide_set());
        let below = below.flat_map(|it| verbs(it, &format!("{name} {}", it.get_name())));
        let below: Vec<_> = below.collect();
        match below.is_empty() {
            true => vec![(name.to_owned(), command.clone())],
            false => below,
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[cfg(all(feature = "kernel", target_os = "linux"))]
    #[test]
    fn the_help_of_every_verb_has_an_example_of_that_verb() {
        let all = verbs(&Cli::command(), "hoplab");
        assert!(all.len() > 20, "{all:?}");
        let lacks = |(name, command): &(String, clap::Command)| {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let examples = help.split_once("Example").map(|(_, rest)| rest);
            !examples.is_some_and(|it| it.contains(&format!("  {name}")))
        };
        let without = all.into_iter().filter(lacks).map(|(name, _)| name);
        assert_eq!(without.collect::<Vec<_>>(), [""; 0]);
    }
}
