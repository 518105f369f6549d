//! `hoplab check`: lab files as far as they can be looked at without bringing anything up.

use std::{path::PathBuf, process::ExitCode};

use super::{Outcome, lab_files, stdout::say, times};
use crate::{
    LabFile,
    failure::{Class, Failure},
    lab_file::SCHEMA,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab check ./my-lab.toml         its words, its references, its rules, and every place that an expectation names
  hoplab check scenarios/labs        every lab file of a directory
  hoplab check --schema > lab.json   a JSON schema for editors")]
pub(super) struct Args {
    /// Lab files, or directories of them; a name without `/` and `.toml` is a lab that hoplab carries
    #[arg(required_unless_present = "schema", value_name = "FILE|DIR")]
    files: Vec<String>,
    /// Print the JSON schema of lab files
    #[arg(long, conflicts_with = "files")]
    schema: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.schema {
        say(SCHEMA)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut bad = None;
    for name in &args.files {
        let path = PathBuf::from(name);
        let names = match path.is_dir() {
            true => lab_files::of(&path)?
                .iter()
                .map(|it| it.to_string_lossy().into_owned())
                .collect(),
            false => vec![name.clone()],
        };
        for name in names {
            match checked(&name) {
                Ok(words) => say(&format!("{name}: {words}\n"))?,
                Err(failure) => {
                    let words = failure.to_string();
                    anstream::eprintln!("error: {}", super::harmless::harmless(&words));
                    bad.get_or_insert(failure.class);
                }
            }
        }
    }
    Ok(bad.map_or(ExitCode::SUCCESS, |class: Class| {
        ExitCode::from(class.exit_code())
    }))
}

/// Reads a lab file with its rules, and each of its variants.
fn checked(name: &str) -> Result<String, Failure> {
    let file = LabFile::open(name)?;
    for variant in &file.topology.variants {
        file.clone().variant(&variant.name)?;
    }
    let topology = &file.topology;
    let families: Vec<String> = file.families().iter().map(ToString::to_string).collect();
    if families.is_empty() {
        let what =
            format!("{name}: no flow of it can run: it has no rules of the families that it names");
        let hint =
            "name a family with rules in `families`, or give it rules: `text_ipv6`, `file_ipv6`";
        return Err(Failure::new(Class::Input, what).hint(hint));
    }
    Ok(format!(
        "good: {}, {}, {}, {}, over {}",
        times(topology.pods.len(), "pod"),
        times(topology.flows.len(), "flow"),
        times(topology.steps.len(), "step"),
        times(topology.variants.len(), "variant"),
        families.join(" and ")
    ))
}
