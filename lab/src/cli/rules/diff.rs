//! `hoplab rules diff`: what two rule sets do differently to traffic, with the kernel as judge.

use std::process::ExitCode;

use super::tried::{self, ProbeArgs, Tried};
use crate::{
    behaviour::{Comparison, Ran, blind_spots, choose, compare},
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
Flows that could tell the two apart are made of what both name: ports, networks, users, groups, marks and their \
neighbours, from inside the pod and from outside. Of those that no rule of either treats differently one runs, and a \
sample of the others. Each runs in a real kernel under either set, in namespaces of its own. What counts is what happens \
to a flow: marks, zones, translations, and where it ends; not which rule did it, or in which syntax.

Examples:
  hoplab rules diff profile:istio-1.13 profile:istio
  hoplab rules diff git:HEAD~1:my.rules my.rules --markdown
  hoplab rules diff my.rules pid:4711 --text
  hoplab rules diff istio istio-nft                 iptables and native nft
  hoplab rules diff my.rules my.rules --backend nft --backend-of-b legacy

Exit codes: 0 they do the same to all flows tried, 1 they do not, 5 no difference was found, but a rule that only one of \
them has asks for what flows do not vary, or model and kernel are of two minds, or the kernel lost a report.")]
pub(super) struct Args {
    /// The rules before
    #[arg(value_name = "A")]
    a: Source,
    #[arg(value_name = "B", help = format!("The rules after. {}", source::HELP))]
    b: Source,
    #[command(flatten)]
    probe: ProbeArgs,
    /// Which iptables plays B, where it is another one than A's
    #[arg(long, value_name = "BACKEND")]
    backend_of_b: Option<BackendChoice>,
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
    match compared(args)? {
        Compared::Shown(text, code) => {
            say(&text)?;
            Ok(code)
        }
        Compared::Interrupted(code) => Ok(code),
    }
}

/// What two sources do differently, as text, and the exit code that goes with it.
///
/// # Errors
/// As the verb's.
pub(super) fn between(
    a: &Source,
    b: &Source,
    backend: BackendChoice,
) -> Result<(String, ExitCode), Failure> {
    let args = Args {
        a: a.clone(),
        b: b.clone(),
        probe: ProbeArgs {
            family: Family::V4,
            only: None,
            backend,
            address: Vec::new(),
            sample: 20,
            seed: 1,
        },
        backend_of_b: None,
        text: true,
        json: false,
        markdown: false,
    };
    match compared(&args)? {
        Compared::Shown(text, code) => Ok((text, code)),
        Compared::Interrupted(_) => Err(Failure::new(Class::State, "interrupted")),
    }
}

/// What came of a comparison.
enum Compared {
    /// Its result, and how the verb ends.
    Shown(String, ExitCode),
    /// A signal came first.
    Interrupted(ExitCode),
}

fn compared(args: &Args) -> Result<Compared, Failure> {
    let (tried, names) = tried::read(&[&args.a, &args.b], &args.probe)?;
    let [a, b] = &tried[..] else {
        unreachable!("two sources were read");
    };
    let stage = tried::stage(&tried, &args.probe.address);
    let subjects = [&a.subject, &b.subject];
    let choice = choose(&subjects, &stage, args.probe.sampling()).ok_or_else(tried::too_much)?;
    let flows = &choice.flows;
    let pool = Pool::for_work(2)?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let backends = (
        args.probe.backend,
        args.backend_of_b.unwrap_or(args.probe.backend),
    );
    let plans = [(a, backends.0), (b, backends.1)]
        .map(|(it, backend)| it.plan(backend, &names, stage, flows, &choice.landings));
    let mut reports = pool.play(plans.into(), |_, _| {}).into_iter();
    if let Some(code) = interrupt.exit_code() {
        return Ok(Compared::Interrupted(code));
    }
    let mut took_us = 0;
    let mut next = |it: &Tried| {
        let report = reports.next().expect("one for each plan");
        let report = report.map_err(|failure| {
            failure.cause(format!("these are the rules of {}", it.subject.name))
        })?;
        took_us = took_us.max(report.took_us);
        tried::ran(&it.subject, &stage, flows, report)
    };
    let (of_a, of_b) = (next(a)?, next(b)?);
    let ran: Vec<(Ran, Ran)> = of_a.into_iter().zip(of_b).collect();
    let comparison = compare(&a.subject, &b.subject, &stage, flows, &ran);
    let spots = blind_spots(&a.subject, &b.subject);
    let about = About {
        spots: &spots,
        a: &a.subject,
        b: &b.subject,
        choice: &choice,
        stage: &stage,
        took_us,
        text: args.text,
    };
    let text = match (args.json, args.markdown) {
        (true, _) => behaviour::json(&about, &comparison),
        (_, true) => behaviour::markdown(&about, &comparison),
        _ => behaviour::text(&about, &comparison),
    };
    let code = code(&comparison, spots.is_empty());
    Ok(Compared::Shown(text, code))
}

/// A difference is one whoever is right about it. That there is none can't be said where flows see nothing.
fn code(comparison: &Comparison, sees_all: bool) -> ExitCode {
    let sure = comparison.disagreements.is_empty() && sees_all;
    match (comparison.groups.is_empty(), sure) {
        (false, _) => ExitCode::from(1),
        (true, false) => ExitCode::from(Class::Incomplete.exit_code()),
        (true, true) => ExitCode::SUCCESS,
    }
}
