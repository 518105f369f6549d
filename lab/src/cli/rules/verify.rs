//! `hoplab rules verify`: a rule set held against a snapshot.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, process::ExitCode};

use super::tried::{self, ProbeArgs};
use crate::{
    behaviour::{Entry, Flow, Sampling, Verified, choose},
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
    },
    failure::Class,
    probe::Pool,
};

#[derive(clap::Args)]
#[command(after_help = "\
Every flow of the snapshot runs again. What is treated otherwise is shown with both ways. Flows that the rules tell apart \
now and the snapshot has not are named too: what they did before is not written down.

Example:
  hoplab rules verify my.rules --against my.snapshot

Exit codes: 0 all is as written down, 1 it is not, or rules tell flows apart that the snapshot has not, 5 model and kernel \
are of two minds about a flow.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    /// The snapshot
    #[arg(long, value_name = "FILE")]
    against: PathBuf,
    #[command(flatten)]
    probe: ProbeArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let snapshot = tried::snapshot(&args.against)?;
    let (tried, names) = tried::read(&[&args.source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    let stage = snapshot.stage;
    let sampling = Sampling {
        flows: 0,
        seed: args.probe.seed,
    };
    let now = choose(&[&one.subject], &stage, sampling).ok_or_else(tried::too_much)?;
    let flows: Vec<Flow> = snapshot.entries.iter().map(|it| it.flow.clone()).collect();
    let pool = Pool::start(1)?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let plan = one.plan(args.probe.backend, &names, stage, &flows, &now.landings);
    let report = pool.play(vec![plan], |_, _| {}).remove(0);
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let ran = tried::ran(&one.subject, &stage, &flows, report?)?;
    let (mut out, mut changed, mut other_path) = (String::new(), 0, 0);
    for (entry, ran) in snapshot.entries.iter().zip(&ran) {
        let found = Entry::of(&one.subject, &entry.flow, ran);
        match entry.verify(&found) {
            Verified::Same => {}
            Verified::OtherPath => other_path += 1,
            Verified::Changed => {
                changed += 1;
                let _ = writeln!(
                    out,
                    "{}\nwas\n{}is\n{}",
                    entry.flow,
                    entry.lines(),
                    found.lines()
                );
            }
        }
    }
    let known: BTreeSet<&Flow> = flows.iter().collect();
    let new: Vec<&Flow> = now.flows.iter().filter(|it| !known.contains(it)).collect();
    for flow in &new {
        let _ = writeln!(out, "not in the snapshot: {flow}");
    }
    let _ = writeln!(
        out,
        "{} flows: {changed} changed, {other_path} end alike by other chains, {} are not in the snapshot",
        flows.len(),
        new.len()
    );
    say(&out)?;
    let doubtful = tried::say_disagreements(&tried::disagreements(&one.subject, &flows, &ran));
    Ok(match (changed + new.len(), doubtful) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::from(Class::Incomplete.exit_code()),
        _ => ExitCode::from(1),
    })
}
