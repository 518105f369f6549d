//! `hoplab run --all DIR`: every lab file of a directory, in every way it makes sense, side by side.

mod args;
mod cases;
mod files;
mod progress;
mod rounds;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use args::SuiteArgs;
use rounds::{Rounds, rounds};
use serde::Serialize;

use super::Args;
use crate::{
    cli::{Outcome, interrupt::Interrupt, stdout::say},
    failure::{Class, Failure},
    outcome::{self, CaseOutcome, Detailed, Difference, Figures},
    suite::{Players, Stop, Stopped},
};

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    cases: &'a [CaseOutcome],
    flaky: &'a [Difference],
    figures: &'a Figures,
}

pub(super) fn run(args: &Args) -> Outcome {
    refuse_what_is_for_one(args)?;
    let suite = &args.suite;
    let cases = cases::wanted(args)?;
    files::check(args)?;
    let jobs = suite.jobs();
    let stop = Arc::new(Stop::default());
    let interrupt = Interrupt::watch_suite(&stop)?;
    let started = Instant::now();
    let limit = suite.time_limit.map(Duration::from_secs);
    let players = Players {
        jobs,
        detailed: match args.show.junit() {
            Some(_) => Detailed::Hops,
            None => Detailed::Verdict,
        },
        until: limit.and_then(|it| started.checked_add(it)),
    };
    let all = rounds(args, &cases, players, &stop)?;
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let figures = Figures {
        flows: all.flows,
        rounds: suite.repeat,
        ..Figures::of(&all.cases, took_us, jobs)
    };
    if args.show.is_json() {
        say(&json(&all, &figures)?)?;
    } else {
        if !args.show.is_quiet() {
            say(&outcome::table(&all.cases))?;
        }
        say(&outcome::failures(&all.cases, &all.flaky, &figures))?;
    }
    files::write(args, &all.cases, &all.flaky, &figures)?;
    if stop.stopped() == Some(Stopped::TimeIsOver) {
        let wanted = suite.repeat * cases.len();
        let missing = wanted - all.played;
        anstream::eprintln!("the time is over: {missing} of {wanted} cases were not played");
    }
    Ok(code(&all, stop.stopped().is_some()))
}

fn code(all: &Rounds, cut: bool) -> ExitCode {
    let broken = all.cases.iter().find_map(|it| it.broke);
    let wrong = all.cases.iter().any(|it| !it.is_as_expected()) || !all.flaky.is_empty();
    match (broken, wrong, cut) {
        (Some(class), _, _) => ExitCode::from(class.exit_code()),
        (None, true, _) => ExitCode::from(1),
        (None, false, true) => ExitCode::from(Class::Incomplete.exit_code()),
        (None, false, false) => ExitCode::SUCCESS,
    }
}

fn json(all: &Rounds, figures: &Figures) -> Result<String, Failure> {
    let json = Json {
        cases: &all.cases,
        flaky: &all.flaky,
        figures,
    };
    let text = serde_json::to_string_pretty(&json)
        .map_err(|e| Failure::new(Class::State, format!("the result has no JSON form: {e}")))?;
    Ok(text + "\n")
}

fn refuse_what_is_for_one(args: &Args) -> Result<(), Failure> {
    let given = [
        ("--flow", !args.flows.is_empty()),
        ("--until", args.until.is_some()),
        ("--variant", args.variant.is_some()),
        ("--evidence", args.evidence.is_some()),
        ("--record", args.record),
        ("--keep", args.keep),
        ("rules of another kind", args.rules.are_given_rules()),
    ];
    let first = given.iter().find(|(_, is)| *is);
    let first = first.map(|(what, _)| (*what).to_owned());
    match first.or_else(|| args.rules.about_istio()) {
        Some(what) => Err(
            Failure::new(Class::Input, format!("{what} does not go with --all"))
                .hint("run the one lab file by its path"),
        ),
        None => Ok(()),
    }
}
