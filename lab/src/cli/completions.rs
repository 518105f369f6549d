//! `hoplab completions`: what a shell offers while a person types. Words of the command line come from its definition;
//! names of labs, pods, rules and profiles are asked of this very binary then.

#[cfg(all(feature = "kernel", target_os = "linux"))]
mod labs;

use std::{any::TypeId, ffi::OsStr, io::IsTerminal as _, process::ExitCode};

use clap::{Arg, Command, ValueEnum};
use clap_complete::{
    ArgValueCompleter, CompleteEnv, CompletionCandidate, PathCompleter,
    engine::ValueCompleter as _, env::Shells,
};

use super::{Outcome, source::Source, stdout::say};
use crate::{
    builtin,
    failure::{Class, Failure},
    profiles,
};

/// Set by the script when it asks: the name of the shell.
const ASKED: &str = "HOPLAB_COMPLETE";

#[derive(clap::Args)]
#[command(after_help = "\
The script asks the hoplab that is found in PATH, so names of labs, pods and rules are those of the moment.

Examples:
  source <(hoplab completions bash)                                    in ~/.bashrc
  source <(hoplab completions zsh)                                     in ~/.zshrc, after compinit
  hoplab completions fish > ~/.config/fish/completions/hoplab.fish")]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(args.shell.name()).ok_or_else(|| {
        Failure::new(Class::Input, format!("no script for {}", args.shell.name()))
    })?;
    shell
        .write_registration(ASKED, "hoplab", "hoplab", "hoplab", &mut script)
        .map_err(|error| {
            Failure::new(Class::State, "could not write the script").cause(error.to_string())
        })?;
    say(&String::from_utf8_lossy(&script))?;
    if std::io::stdout().is_terminal() {
        anstream::eprintln!(
            "to try it: source <(hoplab completions {})",
            args.shell.name()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers the script, if it is the one who asks; then this process does nothing else.
pub(super) fn answer(command: fn() -> Command) {
    CompleteEnv::with_factory(move || offering(command()))
        .var(ASKED)
        .completer("hoplab")
        .complete();
}

type Offer = fn(&OsStr) -> Vec<CompletionCandidate>;

/// The command with what can be offered for its arguments.
fn offering(command: Command) -> Command {
    let verb = command.get_name().to_owned();
    let command = command.mut_args(|arg| match offer(&verb, &arg) {
        Some(offer) => arg.add(ArgValueCompleter::new(offer)),
        None => arg,
    });
    command.mut_subcommands(offering)
}

/// What can be offered for an argument, by what it is called and what it is.
fn offer(verb: &str, arg: &Arg) -> Option<Offer> {
    let value = arg.get_value_names().and_then(|names| names.first());
    let value = value.map(|name| name.as_str()).unwrap_or_default();
    let is_source = arg.get_value_parser().type_id() == TypeId::of::<Source>();
    match (verb, arg.get_id().as_str()) {
        _ if is_source => Some(sources),
        ("profiles", "name") => Some(profile_names),
        ("run" | "up", "lab") => Some(lab_files),
        ("down" | "status" | "prune", "name") | (_, "lab") => Some(running_labs),
        ("trace", "rule") => Some(rules),
        ("explain" | "send", "flow") => Some(pods),
        // `POD/PROCESS` begins with a pod, too.
        _ if value == "POD" || value.starts_with("POD[/") => Some(pods),
        _ => None,
    }
}

/// Those of `names` that go on from what was typed.
fn that_begin(
    typed: &OsStr,
    names: impl IntoIterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else {
        return Vec::new();
    };
    let names = names
        .into_iter()
        .filter(|(name, _)| name.starts_with(typed));
    let candidates = names.map(|(name, about)| {
        let help = (!about.is_empty()).then(|| about.into());
        CompletionCandidate::new(name).help(help)
    });
    candidates.collect()
}

fn profile_names(typed: &OsStr) -> Vec<CompletionCandidate> {
    let all = profiles::all().into_iter();
    that_begin(typed, all.map(|it| (it.name, it.about)))
}

/// Profiles, and files. A name alone does; the long form is offered where its beginning was typed, since bash takes a
/// colon for the end of a word.
fn sources(typed: &OsStr) -> Vec<CompletionCandidate> {
    let is_long = typed.to_str().is_some_and(|it| it.starts_with("profile:"));
    let prefix = if is_long { "profile:" } else { "" };
    let all = profiles::all().into_iter();
    let mut found = that_begin(
        typed,
        all.map(|it| (format!("{prefix}{}", it.name), it.about)),
    );
    found.extend(PathCompleter::file().complete(typed));
    found
}

/// Labs that hoplab carries, and files.
fn lab_files(typed: &OsStr) -> Vec<CompletionCandidate> {
    let carried = builtin::LABS.iter();
    let mut found = that_begin(typed, carried.map(|it| ((*it).to_owned(), String::new())));
    let is_lab = |path: &std::path::Path| path.extension().is_some_and(|it| it == "toml");
    found.extend(PathCompleter::any().filter(is_lab).complete(typed));
    found
}

#[cfg(all(feature = "kernel", target_os = "linux"))]
use labs::{pods, rules, running_labs};

#[cfg(not(all(feature = "kernel", target_os = "linux")))]
use self::{none as pods, none as rules, none as running_labs};

/// Where there are no labs, nothing of them can be offered.
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
fn none(_: &OsStr) -> Vec<CompletionCandidate> {
    Vec::new()
}
