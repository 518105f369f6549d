//! `hoplab prune`: removes what is left of labs whose supervisor has ended.

use std::process::ExitCode;

use super::{Outcome, name};
use crate::{
    cli::stdout::say,
    failure::Failure,
    live::{Registry, Standing, not_up},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab prune             every lab that has ended
  hoplab prune bookinfo

Of a lab whose supervisor has ended the kernel has removed everything but its directory among the running labs. Labs \
that are up, and what is not a lab's, are left alone.")]
pub(in crate::cli) struct Args {
    /// Only this lab
    #[arg(value_parser = name)]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let registry = Registry::of_user()?;
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => registry.names()?,
    };
    for name in names {
        match registry.standing(&name)? {
            Some(Standing::Stale(_)) => prune(&registry, &name)?,
            Some(Standing::Foreign(entry)) if args.name.is_none() => {
                anstream::eprintln!("left alone: {name} is not a lab's (it holds `{entry}`)");
            }
            None | Some(Standing::Foreign(_)) if args.name.is_some() => {
                return Err(not_up(&registry, &name, None));
            }
            _ if args.name.is_some() => {
                anstream::eprintln!("left alone: lab `{name}` is not stale");
            }
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(registry: &Registry, name: &str) -> Result<(), Failure> {
    let claim = registry.claim(name, || ())?;
    // Another command may have brought it up since.
    if let Standing::Stale(_) = claim.standing() {
        claim.remove()?;
        say(&format!("removed what was left of lab `{name}`\n"))?;
    }
    Ok(())
}
