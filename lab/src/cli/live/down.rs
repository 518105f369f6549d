//! `hoplab down`: takes down a lab that stays up.

use std::process::ExitCode;

use super::{Outcome, name, wait_for_another};
use crate::{
    cli::stdout::say,
    failure::Class,
    live::{self, Gone, Registry},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab down              the only lab that is up
  hoplab down bookinfo     the lab file is not needed for it")]
pub(in crate::cli) struct Args {
    /// Name of the lab, not needed when only one is up
    #[arg(value_parser = name)]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let registry = Registry::of_user()?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => live::the_only_one(&registry)?,
    };
    let gone = live::down(&registry, &name, || wait_for_another(&name))?;
    let mut left = false;
    let words = match gone {
        Gone::InOrder(down) => {
            for leftover in &down.leftovers {
                anstream::eprintln!("left over: {leftover}");
            }
            left = !down.leftovers.is_empty();
            format!(
                "{} processes ended, {} had to be killed, {} namespaces removed",
                down.stopped,
                down.killed.len(),
                down.namespaces
            )
        }
        Gone::Told => {
            "its supervisor was told to end, and did; a command that was using it was cut off"
                .to_owned()
        }
        Gone::Killed => {
            "its supervisor did not end by itself and was killed; the kernel removed everything"
                .to_owned()
        }
        Gone::WasStale => {
            "its supervisor had ended before; what was left of it is removed".to_owned()
        }
    };
    say(&format!("{name} is down: {words}\n"))?;
    Ok(match left {
        true => ExitCode::from(Class::State.exit_code()),
        false => ExitCode::SUCCESS,
    })
}
