//! `hoplab rules lint`: what is wrong with a rule set before any traffic. Needs no root and no lab.

use std::{collections::BTreeSet, fmt::Write as _, process::ExitCode};

use super::{
    super::{
        Outcome,
        source::{self, Source, Text, complaint},
        stdout::say,
        times,
    },
    say_not_modelled,
};
use crate::{
    lint::{self, Finding, Mistake, Proxy},
    model::mark_value,
    rules::{self, Backend, Family, MarkValue, RuleId, RuleSet},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab rules lint scenarios/rules/istio-1.13.rules
  hoplab rules lint pid:4711
  hoplab rules lint profile:kuma                 its proxy's user and group come with it
  hoplab rules lint git:HEAD~1:my.rules
  kubectl logs reviews-v1 -c istio-init | hoplab rules lint -
  hoplab rules lint my.rules --backend legacy    would iptables-legacy load it?
Exit code 1 when there is a finding.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    /// Family of a form that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = crate::cli::family)]
    family: Family,
    /// User of the proxy [default: that of the profile, else 1337]
    #[arg(long, value_name = "UID")]
    proxy_uid: Option<u32>,
    /// Group of the proxy [default: that of the profile, else 1337]
    #[arg(long, value_name = "GID")]
    proxy_gid: Option<u32>,
    /// Mark on what the proxy sends, where the rules know it by one [default: that of the profile]
    #[arg(long, value_name = "MARK[/MASK]", value_parser = mark)]
    proxy_mark: Option<MarkValue>,
    /// Say what this backend refuses, nft or legacy (repeatable) [default: what both refuse]
    #[arg(long, value_parser = backend)]
    backend: Vec<Backend>,
}

fn backend(text: &str) -> Result<Backend, String> {
    let known = Backend::ALL.into_iter().find(|it| it.to_string() == text);
    known.ok_or_else(|| "nft or legacy".to_owned())
}

fn mark(text: &str) -> Result<MarkValue, String> {
    mark_value(text).ok_or_else(|| "expected a mark such as 1337 or 0x539/0xfff".to_owned())
}

/// Everything that is found, a refused rule once: what it would match if it were there does not matter.
fn find(args: &Args, sets: &[RuleSet], proxy: Proxy) -> Vec<Finding> {
    let backends: Vec<&[Backend]> = match args.backend.as_slice() {
        [] => vec![&Backend::ALL],
        some => some.chunks(1).collect(),
    };
    let refused: Vec<Finding> = sets
        .iter()
        .flat_map(|set| backends.iter().flat_map(|it| lint::refused(set, it)))
        .collect();
    let named: BTreeSet<RuleId> = refused.iter().map(|it| it.rule.clone()).collect();
    let mut findings = lint::lint(sets, proxy);
    findings.retain(|it| it.mistake != Mistake::NeverMatches || !named.contains(&it.rule));
    findings.extend(refused);
    findings
}

/// Who the proxy is: as the command line says, else as the profile does.
fn proxy(args: &Args, text: &Text) -> Proxy {
    let known = text.proxy();
    Proxy {
        uid: args.proxy_uid.unwrap_or(known.uid),
        gid: args.proxy_gid.unwrap_or(known.gid),
        mark: args.proxy_mark.or(known.mark),
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let texts = args.source.open()?;
    let (mut out, mut any) = (String::new(), false);
    for text in &texts {
        let sets = text.read(args.family)?.rules().map_err(complaint)?;
        say_not_modelled(&sets);
        let findings = find(args, &sets, proxy(args, text));
        any |= !findings.is_empty();
        if texts.len() > 1 {
            let _ = writeln!(out, "{}:", text.origin);
        }
        for finding in &findings {
            let _ = writeln!(out, "{finding}");
        }
        for set in &sets {
            for table in lint::not_searched(set) {
                let _ = writeln!(
                    out,
                    "{} {table}: names too many addresses and ports to search it for rules that can never match",
                    set.family
                );
            }
        }
        let count: usize = sets.iter().map(rules::RuleSet::len).sum();
        let (rules, found) = (times(count, "rule"), times(findings.len(), "finding"));
        let _ = writeln!(out, "{rules}, {found}");
    }
    say(&out)?;
    Ok(ExitCode::from(u8::from(any)))
}
