//! `hoplab rules lint`: what is wrong with a rule set before any traffic. Needs no root and no lab.

use std::{io::Read, process::ExitCode};

use super::super::{Outcome, stdout::say};
use crate::{
    failure::{Class, Failure},
    lint::{self, Finding, Proxy},
    rules::{self, Family},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab rules lint scenarios/rules/istio-1.13.rules
  nsenter -t PID -n iptables-save -c | hoplab rules lint -
Exit code 1 when there is a finding.")]
pub(super) struct Args {
    /// Rules in any form a person has (restore file, iptables-save, -S, -L -v, istio-init log); `-` is standard input
    file: String,
    /// Family of a form that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = crate::cli::family)]
    family: Family,
    /// User of the proxy
    #[arg(long, default_value_t = Proxy::ISTIO.uid)]
    proxy_uid: u32,
    /// Group of the proxy
    #[arg(long, default_value_t = Proxy::ISTIO.gid)]
    proxy_gid: u32,
}

pub(super) fn run(args: &Args) -> Outcome {
    let text = text_of(&args.file)?;
    let input =
        |error: crate::diagnostic::Diagnostic| Failure::new(Class::Input, error.to_string());
    let document = rules::read(&text, &args.file, args.family).map_err(input)?;
    let sets = document.rules().map_err(input)?;
    let proxy = Proxy {
        uid: args.proxy_uid,
        gid: args.proxy_gid,
    };
    let findings: Vec<Finding> = lint::lint(&sets, proxy);
    let count: usize = sets.iter().map(rules::RuleSet::len).sum();
    let mut out = String::new();
    for finding in &findings {
        out.push_str(&format!("{finding}\n"));
    }
    out.push_str(&format!("{count} rules, {} findings\n", findings.len()));
    say(&out)?;
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

fn text_of(file: &str) -> Result<String, Failure> {
    let read = match file {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        file => std::fs::read_to_string(file),
    };
    read.map_err(|error| {
        Failure::new(Class::Input, format!("could not read {file}")).cause(error.to_string())
    })
}
