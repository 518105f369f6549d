//! `hoplab rules render linkerd`.

use std::{fs, path::PathBuf, process::ExitCode};

use super::{Rendered, mesh_flags::MeshFlags, print};
use crate::{
    cli::Outcome,
    diagnostic::Diagnostic,
    failure::{Class, Failure},
    linkerd::{self, Config},
    rules::{self, Family, RuleSet},
};

#[derive(clap::Args)]
#[command(after_help = "\
proxy-init runs one iptables process for each rule; the restore text has the same effect on an empty nat table. \
Rules go to standard output: IPv4, then IPv6. Warnings go to standard error.

Examples:
  hoplab rules render linkerd --family ipv4 | iptables-restore --noflush
  hoplab rules render linkerd --inbound-ports-to-ignore 4190,4191,9000-9010 --subnets-to-ignore 10.0.0.0/8 --ipv6=false
  hoplab rules render linkerd --commands --use-wait-flag --iptables-mode nft")]
pub(super) struct Args {
    /// Print one family only
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
    /// Print the commands of proxy-init, as its own --simulate does
    #[arg(long, visible_alias = "simulate")]
    commands: bool,
    /// What the nat table holds when the commands run, as iptables-save prints it: chains there are flushed, not made
    #[arg(long, value_name = "FILE", requires = "commands")]
    existing: Option<PathBuf>,
    /// Print the commands that take the rules away again
    #[arg(long, conflicts_with = "commands")]
    cleanup: bool,
    /// Write the rules from before proxy-init #45: the proxy's calls to its own pod go to its inbound port
    #[arg(long)]
    self_redirect: bool,
    #[command(flatten)]
    flags: MeshFlags<Config>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let config = Config {
        self_redirect: args.self_redirect,
        ..args.flags.configuration()?
    };
    let existing = args
        .existing
        .as_ref()
        .map(read)
        .transpose()?
        .unwrap_or_default();
    let mut text = String::new();
    for family in config.families() {
        if args.family.is_some_and(|only| only != *family) {
            continue;
        }
        let none = RuleSet::empty(*family);
        let held = existing.iter().find(|set| set.family == *family);
        match (args.commands, args.cleanup) {
            (true, _) => lines(
                &mut text,
                &linkerd::commands(&config, *family, held.unwrap_or(&none)),
            ),
            (_, true) => lines(&mut text, &linkerd::cleanup(&config, *family)),
            _ => text.push_str(&linkerd::restore(&config)),
        }
    }
    let rendered = Rendered {
        text,
        steps: linkerd::sysctl(&config).into_iter().collect(),
    };
    print::print(&rendered, &linkerd::warnings(&config), false, "Linkerd")?;
    Ok(ExitCode::SUCCESS)
}

fn lines(text: &mut String, commands: &[String]) {
    for command in commands {
        text.push_str(command);
        text.push('\n');
    }
}

fn read(path: &PathBuf) -> Result<Vec<RuleSet>, Failure> {
    let origin = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(Class::Input, format!("could not read {origin}")).cause(error.to_string())
    })?;
    let complaint = |error: Diagnostic| Failure::new(Class::Input, error.to_string());
    let document = rules::read(&text, &origin, Family::V4).map_err(complaint)?;
    document.rules().map_err(complaint)
}
