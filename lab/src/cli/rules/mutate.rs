//! `hoplab rules mutate`: mistakes in a rule set, one at a time, and which flows notice them.

mod flows;
mod labs;
mod progress;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;

use self::{flows::ByFlows, labs::LabSuite, progress::Progress};
use super::tried::{self, ProbeArgs, Tried};
use crate::{
    behaviour::{Judged, Mutant, Score, mutants},
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
        trace::ends,
    },
    failure::{Class, Failure},
    report::behaviour::{Labs, Mutated},
    suite::Stop,
};

#[derive(clap::Args)]
#[command(after_help = "\
Each rule is deleted, moved, doubled, swapped with the next one; each condition turned around, left out, or made to ask for \
what lies beside; each target exchanged. Every mutant is loaded into a kernel of its own and the flows run there. \
The flows are one of each kind that the rules tell apart, a sample, and those that the model asks for since no other would \
notice a mistake. A mutant is killed by a flow that is treated otherwise; equivalent if the model, asked about every flow \
that could tell the two apart, finds none; else it survived, and the flow that would have told is named.

Examples:
  hoplab rules mutate profile:istio-1.13
  hoplab rules mutate my.rules --kind deleted --probe istio
  hoplab rules mutate my.rules --limit 60 --for 2m
  hoplab rules mutate my.rules --suite my.snapshot      would my own flows have noticed?
  hoplab rules mutate istio --kind deleted --suite scenarios/labs     and my lab files?

With lab files as the suite, those count that hold under the whole rules; each is brought up under a mutant until a flow \
is not as its file says. A mutant that none of them notices is tried with derived flows: where these notice, the lab \
files miss it. Rules that turn a proxy's own connections back to it are said to loop: the proxy refuses such a one, a \
flow has a deadline, and the lab goes down with all that is in it.

Exit codes: 0 no mutant survived or is missed, 1 one did, 5 one could not be decided, or model and kernel are of two minds, or --for was \
over before every mutant was tried.")]
pub(super) struct Args {
    #[arg(help = source::HELP)]
    source: Source,
    #[command(flatten)]
    probe: ProbeArgs,
    /// Mistakes whose words begin so, such as `deleted`, `moved`, `doubled`, `swapped`
    #[arg(long, value_name = "WORD")]
    kind: Vec<String>,
    /// At most this many, picked by --seed
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Begin no more after this time, such as 30s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = ends::duration)]
    time: Option<Duration>,
    /// Run the flows of this snapshot, and no others; or the lab files of this directory, or this one (`.toml`)
    #[arg(long, value_name = "PATH")]
    suite: Option<PathBuf>,
    /// Score this probe beside: istio is the one of its own validation
    #[arg(long = "probe", value_name = "PROBE")]
    validation: Option<Validated>,
    /// Show every mutant, not only those that nobody noticed
    #[arg(short, long)]
    verbose: bool,
    /// Print everything as one JSON value
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

/// A validation that a mesh has of its own.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Validated {
    /// The validation of istio-init: the proxy's user calls 127.0.0.6:15002 and expects 15001 or 15006 to see it
    Istio,
}

pub(super) fn run(args: &Args) -> Outcome {
    let progress = Progress::start(args.time);
    let (tried, names) = tried::read(&[&args.source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    let all = chosen(args, one)?;
    let (snapshot, labs) = args.suite.as_deref().map_or((None, None), |path| {
        match path.is_dir() || path.extension().is_some_and(|it| it == "toml") {
            true => (None, Some(path)),
            false => (Some(path), None),
        }
    });
    let labs = match labs {
        None => None,
        Some(path) => match noticed_by_labs(args, path, one, &all, &progress)? {
            Ended::Interrupted(code) => return Ok(code),
            Ended::Done(it) => Some(it),
        },
    };
    // What no lab file notices is left for the flows that are derived.
    let unnoticed = |at: usize| {
        let by_lab = labs.as_ref().map(|(_, judged)| &judged[at]);
        by_lab.is_none_or(|it| matches!(it, Some(None)))
    };
    let rest: Vec<Mutant> = (0..all.len())
        .filter(|at| unnoticed(*at))
        .map(|at| all[at].clone())
        .collect();
    let flows = match labs.is_some() && rest.is_empty() {
        true => ByFlows::default(),
        false => match flows::judged(args, (&tried, &names), snapshot, &rest, &progress)? {
            Ended::Interrupted(code) => return Ok(code),
            Ended::Done(it) => it,
        },
    };
    let mut by_flows = flows.judged.into_iter();
    let (mut judged, mut left) = (Vec::new(), Vec::new());
    for (at, mutant) in all.iter().enumerate() {
        let by_lab = labs.as_ref().map(|(_, judged)| &judged[at]);
        let fate = match by_lab {
            Some(None) => None,
            Some(Some(Some(it))) => Some(it.clone()),
            Some(Some(None)) => by_flows.next().flatten().map(Judged::missed_by_labs),
            None => by_flows.next().flatten(),
        };
        match fate {
            Some(it) => judged.push(it),
            None => left.push(mutant.to_string()),
        }
    }
    let played = labs.as_ref().map(|(suite, _)| suite.names());
    let about = Mutated {
        name: &one.subject.name,
        suite: flows.suite,
        added: flows.added,
        left: &left,
        seconds: progress.started.elapsed().as_secs_f64(),
        labs: labs
            .as_ref()
            .zip(played.as_ref())
            .map(|((suite, _), played)| Labs {
                played,
                left_out: &suite.left_out,
            }),
        validated: args.validation.is_some(),
    };
    say(&match args.json {
        true => about.json(&judged),
        false => about.text(&judged, args.verbose),
    })?;
    let doubtful = judged
        .iter()
        .filter(|it| tried::say_disagreements(&it.disagreements))
        .count();
    let Score {
        survived,
        missed,
        undecided,
        ..
    } = Score::of(&judged);
    Ok(
        match (survived + missed, undecided + doubtful + left.len()) {
            (1.., _) => ExitCode::from(1),
            (0, 1..) => ExitCode::from(Class::Incomplete.exit_code()),
            (0, 0) => ExitCode::SUCCESS,
        },
    )
}

/// Something that a signal may end.
enum Ended<T> {
    Done(T),
    Interrupted(ExitCode),
}

/// What lab files say of each mutant: no value where it was not tried, and nothing where none notices.
type ByLabs = (LabSuite, Vec<Option<Option<Judged>>>);

fn noticed_by_labs(
    args: &Args,
    path: &Path,
    one: &Tried,
    all: &[Mutant],
    progress: &Progress,
) -> Result<Ended<ByLabs>, Failure> {
    if args.validation.is_some() {
        let what = "--probe is scored beside flows, and the suite here is lab files";
        return Err(Failure::new(Class::Input, what).hint("leave one of them out"));
    }
    let stop = Arc::new(Stop::default());
    let interrupt = Interrupt::watch_suite(&stop)?;
    let judged = LabSuite::open(path, one, args.probe.backend, &stop).and_then(|suite| {
        for (lab, why) in &suite.left_out {
            anstream::eprintln!("note: {lab} is left out: {why}");
        }
        let total = all.len();
        let judged = suite.judge(
            one,
            all,
            &stop,
            || progress.is_in_time(),
            || progress.one(total),
        )?;
        Ok((suite, judged))
    });
    // What was cut short says nothing, not even that it failed.
    match interrupt.exit_code() {
        Some(code) => Ok(Ended::Interrupted(code)),
        None => judged.map(Ended::Done),
    }
}

/// The mutants that are asked for, in the order of the rules.
fn chosen(args: &Args, one: &Tried) -> Result<Vec<Mutant>, Failure> {
    let wanted = |it: &Mutant| {
        args.kind.is_empty() || args.kind.iter().any(|kind| it.what.starts_with(kind))
    };
    let all = mutants(&one.subject).map_err(|why| {
        let what = format!("no mistake can be written into {}", one.subject.name);
        Failure::new(Class::Input, what).cause(why)
    })?;
    let all = all.into_iter().filter(wanted);
    let mut all: Vec<(usize, Mutant)> = all.enumerate().collect();
    if let Some(limit) = args.limit {
        // A walk with a step that meets each once, from where the seed says.
        let seed = usize::try_from(args.probe.seed).unwrap_or(0);
        all.sort_by_key(|(at, _)| {
            (at.wrapping_add(1)
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(seed.wrapping_mul(0x85eb_ca6b)))
                % 65_521
        });
        all.truncate(limit);
        all.sort_by_key(|(at, _)| *at);
    }
    Ok(all.into_iter().map(|(_, it)| it).collect())
}
