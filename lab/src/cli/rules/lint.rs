//! `hoplab rules lint`: what is wrong with a rule set before any traffic. Needs no root and no lab.

use std::{fmt::Write as _, process::ExitCode};

use super::super::{
    Outcome,
    source::{self, Source, complaint},
    stdout::say,
};
use crate::{
    lint::{self, Finding, Proxy},
    rules::{self, Family},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab rules lint scenarios/rules/istio-1.13.rules
  hoplab rules lint pid:4711
  kubectl logs reviews-v1 -c istio-init | hoplab rules lint -
Exit code 1 when there is a finding.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
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
    let proxy = Proxy {
        uid: args.proxy_uid,
        gid: args.proxy_gid,
    };
    let texts = args.source.open()?;
    let (mut out, mut any) = (String::new(), false);
    for text in &texts {
        let sets = text.read(args.family)?.rules().map_err(complaint)?;
        let findings: Vec<Finding> = lint::lint(&sets, proxy);
        any |= !findings.is_empty();
        if texts.len() > 1 {
            let _ = writeln!(out, "{}:", text.origin);
        }
        for finding in &findings {
            let _ = writeln!(out, "{finding}");
        }
        let count: usize = sets.iter().map(rules::RuleSet::len).sum();
        let _ = writeln!(out, "{count} rules, {} findings", findings.len());
    }
    say(&out)?;
    Ok(ExitCode::from(u8::from(any)))
}
