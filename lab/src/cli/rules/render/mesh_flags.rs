//! The flags of another mesh's installer on the command line, made from the one table of them.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, parser::ValueSource};

use crate::{
    istio::BadValue,
    mesh::{Configuration, Flag, Takes},
};

/// Flags that were given, with every value of each.
pub(super) struct MeshFlags<C: Configuration>(Vec<(&'static Flag<C>, Vec<String>)>);

impl<C: Configuration> MeshFlags<C> {
    /// The default configuration with what was given.
    pub(super) fn configuration(&self) -> Result<C, BadValue> {
        let mut config = C::default();
        for (flag, values) in &self.0 {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            flag.apply(&mut config, &values)?;
        }
        Ok(config)
    }
}

impl<C: Configuration> clap::Args for MeshFlags<C> {
    fn augment_args(command: Command) -> Command {
        let flags = C::FLAGS.iter();
        flags.fold(command, |command, flag| command.arg(argument(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<C: Configuration> clap::FromArgMatches for MeshFlags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self(Vec::new());
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for flag in C::FLAGS {
            if matches.value_source(flag.name) == Some(ValueSource::CommandLine) {
                let values = matches.get_many::<String>(flag.name).into_iter().flatten();
                self.0.push((flag, values.cloned().collect()));
            }
        }
        Ok(())
    }
}

fn argument<C: Configuration>(flag: &'static Flag<C>) -> Arg {
    let (heading, help) = match flag.key {
        None => (C::HEADING, flag.help.to_owned()),
        Some(key) => (
            "Settings without a flag there, by configuration file only",
            format!("{} [key: {key}]", flag.help),
        ),
    };
    let argument = Arg::new(flag.name)
        .long(flag.name)
        .help(help)
        .help_heading(heading)
        .action(ArgAction::Append);
    let argument = match flag.short {
        Some(short) => argument.short(short),
        None => argument,
    };
    match flag.takes {
        Takes::One(value) | Takes::List(value) | Takes::Each(value) => argument.value_name(value),
        Takes::Switch => argument
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
