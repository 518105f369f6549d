//! The flags of `istio-iptables` on the command line, made from the one table of them.

use clap::{Arg, ArgMatches, Command, Error, parser::ValueSource};

use crate::istio::{FLAGS, Flag, Kind};

/// Istio's flag that changes no rule, and that `hoplab up` takes at its word.
const DRY_RUN: &str = "dry-run";

/// Flags that were given, with their values. `SHORT`: the short forms are taken too; a verb that has short flags of
/// its own takes the long ones only.
#[derive(Debug, Default)]
pub(in crate::cli) struct IstioFlags<const SHORT: bool>(Vec<(&'static Flag, String)>);

impl<const SHORT: bool> IstioFlags<SHORT> {
    /// What was given, in Istio's order of flags. `--dry-run` is no part of a configuration where the verb has a meaning
    /// of its own for it.
    pub(in crate::cli) fn pairs(&self) -> impl Iterator<Item = (&'static Flag, &str)> {
        let all = self.0.iter().map(|(flag, value)| (*flag, value.as_str()));
        all.filter(|(flag, _)| SHORT || flag.name != DRY_RUN)
    }

    /// Whether `--dry-run` was given.
    #[cfg(all(feature = "kernel", target_os = "linux"))]
    pub(in crate::cli) fn is_dry_run(&self) -> bool {
        let mut all = self.0.iter();
        all.any(|(flag, value)| flag.name == DRY_RUN && value != "false")
    }
}

impl<const SHORT: bool> clap::Args for IstioFlags<SHORT> {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| {
            command.arg(argument::<SHORT>(flag))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const SHORT: bool> clap::FromArgMatches for IstioFlags<SHORT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for flag in FLAGS {
            let given = matches.value_source(flag.name) == Some(ValueSource::CommandLine);
            if let Some(value) = matches.get_one::<String>(flag.name).filter(|_| given) {
                self.0.push((flag, value.clone()));
            }
        }
        Ok(())
    }
}

/// As pflag takes it: the last one of several counts, and a switch takes its value after `=` only. The name does
/// without its `istio-` as well.
fn argument<const SHORT: bool>(flag: &'static Flag) -> Arg {
    let variables = flag.variables();
    let help = if variables.is_empty() {
        flag.help.to_owned()
    } else {
        format!("{} [env: {}]", flag.help, variables.join(", "))
    };
    let argument = Arg::new(flag.name)
        .long(flag.name)
        .help(help)
        .help_heading("Flags of istio-iptables")
        .hide_short_help(!SHORT)
        .overrides_with(flag.name);
    let argument = match flag.name.strip_prefix("istio-") {
        Some(rest) => argument.alias(rest),
        None => argument,
    };
    let argument = match flag.short.filter(|_| SHORT) {
        Some(short) => argument.short(short),
        None => argument,
    };
    match flag.kind() {
        Kind::Text => argument.value_name("TEXT"),
        Kind::Port => argument.value_name("PORT"),
        Kind::Time => argument.value_name("TIME"),
        Kind::Switch => argument
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
