//! `hoplab rules diff`: what two rule sets do differently to traffic, with the kernel as judge.

use std::{net::IpAddr, process::ExitCode};

use super::tried::{self, Tried};
use crate::{
    behaviour::{Comparison, Ran, Sampling, choose, compare, course},
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
    },
    failure::{Class, Failure},
    netfilter::BackendChoice,
    probe::Pool,
    report::behaviour::{self, About},
    rules::Family,
};

#[derive(clap::Args)]
#[command(after_help = "\
Flows that could tell the two apart are made of what both name: ports, networks, users, groups, marks and their
neighbours, from inside the pod and from outside. Of those that no rule of either treats differently one runs, and a
sample of the others. Each runs in a real kernel under either set, in namespaces of its own. What counts is what happens
to a flow: marks, zones, translations, and where it ends; not which rule did it, or in which syntax.

Examples:
  hoplab rules diff profile:istio-1.13 profile:istio
  hoplab rules diff git:HEAD~1:my.rules my.rules --markdown
  hoplab rules diff my.rules pid:4711 --text
  hoplab rules diff istio istio-nft                 iptables and native nft

Exit codes: 0 they do the same to all flows tried, 1 they do not, 5 model and kernel are of two minds about a flow, or
the kernel lost a report.")]
pub(super) struct Args {
    /// The rules before
    #[arg(value_name = "A")]
    a: Source,
    #[arg(value_name = "B", help = format!("The rules after. {}", source::HELP))]
    b: Source,
    /// Family of a form that does not tell it
    #[arg(long, default_value = "ipv4", value_parser = crate::cli::family)]
    family: Family,
    /// Which iptables plays rules of iptables: nft, legacy or auto
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// Address of the pod, where rules name it (once per family) [default: one that no rule names]
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// How many of the flows that the model calls alike run all the same
    #[arg(long, value_name = "N", default_value_t = 100)]
    sample: usize,
    /// Which ones: the same number picks the same flows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Show how the rules themselves differ, too
    #[arg(long)]
    text: bool,
    /// Print everything as one JSON value
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print it for a comment on a pull request
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (tried, names) = tried::read(&[&args.a, &args.b], args.family)?;
    let [a, b] = &tried[..] else {
        unreachable!("two sources were read");
    };
    let stage = tried::stage(&tried, &args.address);
    let sampling = Sampling {
        flows: args.sample,
        seed: args.seed,
    };
    let subjects = [&a.subject, &b.subject];
    let choice = choose(&subjects, &stage, sampling).ok_or_else(too_much)?;
    let pool = Pool::for_work(2)?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let plan = |it: &Tried| it.plan(args.backend, &names, stage, &choice.flows, &choice);
    let mut reports = pool.play(vec![plan(a), plan(b)], |_, _| {}).into_iter();
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let mut next = |it: &Tried| {
        let report = reports.next().expect("one for each plan")?;
        match &report.lost {
            Some(lost) => Err(Failure::new(Class::Incomplete, lost.clone())),
            None => {
                let courses = choice
                    .flows
                    .iter()
                    .map(|flow| course(&it.subject, &stage, flow));
                let ran = courses
                    .zip(report.seen)
                    .map(|(course, seen)| Ran { course, seen });
                Ok((ran.collect::<Vec<_>>(), report.took_us))
            }
        }
    };
    let ((of_a, took_a), (of_b, took_b)) = (next(a)?, next(b)?);
    let ran: Vec<(Ran, Ran)> = of_a.into_iter().zip(of_b).collect();
    let comparison = compare(&a.subject, &b.subject, &choice.flows, &ran);
    let about = About {
        a: &a.subject,
        b: &b.subject,
        choice: &choice,
        stage: &stage,
        took_us: took_a.max(took_b),
        text: args.text,
    };
    say(&match (args.json, args.markdown) {
        (true, _) => behaviour::json(&about, &comparison),
        (_, true) => behaviour::markdown(&about, &comparison),
        _ => behaviour::text(&about, &comparison),
    })?;
    Ok(code(&comparison))
}

pub(super) fn too_much() -> Failure {
    let what =
        "the rules name too many ports, addresses and owners to try every combination of them";
    Failure::new(Class::Input, what).hint("this is for the rules of a pod, not for those of a node")
}

/// A difference is one whoever is right about it.
fn code(comparison: &Comparison) -> ExitCode {
    match (
        comparison.groups.is_empty(),
        comparison.disagreements.is_empty(),
    ) {
        (false, _) => ExitCode::from(1),
        (true, false) => ExitCode::from(Class::Incomplete.exit_code()),
        (true, true) => ExitCode::SUCCESS,
    }
}
