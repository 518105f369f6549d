//! The flags of `istio-iptables` on the command line, made from the one table of them.

use clap::{Arg, ArgMatches, Command, Error, parser::ValueSource};

use crate::istio::{FLAGS, Flag, Kind};

/// Flags that were given, with their values.
#[derive(Debug, Default)]
pub(super) struct IstioFlags(Vec<(&'static Flag, String)>);

impl IstioFlags {
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static Flag, &str)> {
        self.0.iter().map(|(flag, value)| (*flag, value.as_str()))
    }
}

impl clap::Args for IstioFlags {
    fn augment_args(command: Command) -> Command {
        FLAGS
            .iter()
            .fold(command, |command, flag| command.arg(argument(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for IstioFlags {
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

/// As pflag takes it: the last one of several counts, and a switch takes its value after `=` only.
fn argument(flag: &'static Flag) -> Arg {
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
        .overrides_with(flag.name);
    let argument = match flag.short {
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
