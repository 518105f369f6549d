//! `hoplab rules snapshot`: what a rule set does to traffic, as text that a repository keeps.

use std::process::ExitCode;

use super::tried::{self, ProbeArgs};
use crate::{
    behaviour::{Entry, Expected, Sampling, Snapshot, choose, completed, expected, mutants},
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
    },
    failure::{Class, Failure},
    probe::Pool,
};

#[derive(clap::Args)]
#[command(after_help = "\
One flow of every kind that the rules tell apart runs in a real kernel, and more where a missing rule would not show \
otherwise. Written down are the flow, the chains it was led
through, what changed at each hook, and where it ended; no rule numbers, so that a rule that changes nothing changes \
nothing here.

Examples:
  hoplab rules snapshot my.rules > my.snapshot
  hoplab rules verify my.rules --against my.snapshot

Exit codes: 0 written, 5 model and kernel are of two minds about a flow: nothing is written.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    #[command(flatten)]
    probe: ProbeArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (tried, names) = tried::read(&[&args.source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    let stage = tried::stage(&tried, &args.probe.address);
    // What is written down is one of each kind; what is alike would only make it longer.
    let sampling = Sampling {
        flows: 0,
        seed: args.probe.seed,
    };
    let choice = choose(&[&one.subject], &stage, sampling).ok_or_else(tried::too_much)?;
    // A rule that is gone must show, and one flow of each kind would not always tell.
    let gone = mutants(&one.subject).map_err(|why| {
        let what = format!(
            "no rule of {} can be left out to see what tells",
            one.subject.name
        );
        Failure::new(Class::Input, what).cause(why)
    })?;
    let gone = gone.into_iter().filter(|it| it.what.starts_with("deleted"));
    let gone: Vec<Expected> = gone
        .map(|it| expected(&one.subject, &it, &stage, &choice.flows))
        .collect();
    let flows = &completed(&choice.flows, &gone);
    let pool = Pool::start(1)?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let plan = one.plan(args.probe.backend, &names, stage, flows, &choice.landings);
    let report = pool.play(vec![plan], |_, _| {}).remove(0);
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let ran = tried::ran(&one.subject, &stage, flows, report?)?;
    if tried::say_disagreements(&tried::disagreements(&one.subject, flows, &ran)) {
        return Err(Failure::new(
            Class::Incomplete,
            "there is no snapshot of what is not sure",
        ));
    }
    let entries = flows
        .iter()
        .zip(&ran)
        .map(|(flow, ran)| Entry::of(&one.subject, flow, ran));
    let snapshot = Snapshot {
        stage,
        entries: entries.collect(),
    };
    let remarks = [
        one.subject.name.clone(),
        format!(
            "{} flows: one of each kind of the {} that were asked about, and {} more that tell when a rule is gone",
            flows.len(),
            choice.asked,
            flows.len() - choice.kinds
        ),
    ];
    say(&snapshot.text(&remarks))?;
    Ok(ExitCode::SUCCESS)
}
