//! `hoplab man`: manual pages, from the definition of the command line.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::CommandFactory as _;

use super::{Cli, Outcome, stdout::say};
use crate::failure::{Class, Failure};

#[derive(clap::Args)]
#[command(after_help = "\
Writes hoplab.1, and a page for each verb: hoplab-run.1, hoplab-rules-show.1.

Examples:
  hoplab man ~/.local/share/man/man1 && man hoplab-explain
  hoplab man /tmp/pages && man /tmp/pages/hoplab-rules-diff.1")]
pub(super) struct Args {
    /// Directory for the pages; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    let directory = &args.directory;
    let written = fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        let what = format!("could not write manual pages to {}", directory.display());
        Failure::new(Class::Input, what).cause(error.to_string())
    })?;
    say(&format!("wrote manual pages to {}\n", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
