//! `hoplab report`: a run as text, JSON or JUnit, from its evidence file. The verdict is not its exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::{
    Outcome,
    recorded::{Judged, judged},
    show::{json, junit},
    stdout::say,
};
use crate::{
    failure::{Class, Failure},
    report::{self, Detail},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab report out/evidence.ndjson
  hoplab report out/evidence.ndjson --format junit > junit.xml

Ends with 0 whatever the verdict is; `hoplab judge` ends with the verdict.")]
pub(super) struct Args {
    /// Evidence file of a run; - is standard input
    file: PathBuf,
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Every claim with its witnesses, for people
    Text,
    /// Evidence and judgement
    Json,
    /// JUnit XML, for CI systems
    Junit,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Judged {
        recorded,
        judgement,
    } = judged(&args.file)?;
    let run = recorded.run(&judgement);
    let text = match args.format {
        Format::Text => report::summary(&run, Detail::Verbose),
        Format::Json => json(&run)?,
        Format::Junit => junit(&run)
            .map_err(|e| Failure::new(Class::State, "the verdicts have no XML form").cause(e))?,
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}
