//! `hoplab rules mutate`: mistakes in a rule set, one at a time, and which flows notice them.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use clap::ValueEnum;

use super::tried::{self, ProbeArgs, Tried};
use crate::{
    behaviour::{
        self, Expected, Fate, Flow, Judged, Mutant, Ran, Score, Stage, Validation, choose,
        completed, judge, landings, mutants,
    },
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
        trace::ends,
    },
    failure::{Class, Failure},
    probe::{Pool, ProbePlan},
    report::behaviour::Mutated,
    rules::{RuleSet, Written},
};

#[derive(clap::Args)]
#[command(after_help = "\
Each rule is deleted, moved, doubled, swapped with the next one; each condition turned around, left out, or made to ask for
what lies beside; each target exchanged. Every mutant is loaded into a kernel of its own and the flows run there.
The flows are one of each kind that the rules tell apart, a sample, and those that the model asks for since no other would
notice a mistake. A mutant is killed by a flow that is treated otherwise; equivalent if the model, asked about every flow
that could tell the two apart, finds none; else it survived, and the flow that would have told is named.

Examples:
  hoplab rules mutate profile:istio-1.13
  hoplab rules mutate my.rules --kind deleted --probe istio
  hoplab rules mutate my.rules --limit 60 --for 2m
  hoplab rules mutate my.rules --suite my.snapshot      would my own flows have noticed?

Exit codes: 0 no mutant survived, 1 one did, 5 one could not be decided, or model and kernel are of two minds, or --for was
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
    /// Run the flows of this snapshot, and no others
    #[arg(long, value_name = "FILE")]
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

/// The flows that run, and what the model expects of each mutant.
struct Suite {
    stage: Stage,
    flows: Vec<Flow>,
    /// Of these, how many are there for mutants that no other would notice.
    added: usize,
    landings: BTreeSet<u16>,
    expected: Vec<Expected>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let started = Instant::now();
    let (tried, names) = tried::read(&[&args.source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    let all = chosen(args, one)?;
    let suite = suite(args, one, &tried, &all)?;
    let validation = args.validation.map(|Validated::Istio| Validation::Istio);
    // The call of the validation goes last, and kills nothing.
    let mut flows = suite.flows.clone();
    flows.extend(validation.map(Validation::flow));
    let whole = one.plan(
        args.probe.backend,
        &names,
        suite.stage,
        &flows,
        &suite.landings,
    );
    let plans: Vec<ProbePlan> = all.iter().map(|it| mutated(&whole, one, it)).collect();
    let pool = Pool::for_work(plans.len())?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let in_time = || args.time.is_none_or(|time| started.elapsed() < time);
    let told = Progress {
        started,
        total: all.len(),
        done: AtomicUsize::new(0),
    };
    let report = pool.play(vec![whole], |_, _| {}).remove(0);
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let whole = tried::ran(&one.subject, &suite.stage, &flows, report?)?;
    trusted(one, &flows, &whole, validation)?;
    let reports = pool.play_while(plans, in_time, |_, _| told.one());
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let (mut judged, mut left) = (Vec::new(), Vec::new());
    for ((mutant, expected), report) in all.iter().zip(&suite.expected).zip(reports) {
        let Some(report) = report else {
            left.push(mutant.to_string());
            continue;
        };
        judged.push(match report {
            Err(failure) if failure.class == Class::Input => refused(mutant, &failure),
            report => {
                let broken = one
                    .subject
                    .with_rules(mutant.to_string(), mutant.sets.clone());
                let ran = tried::ran(&broken, &suite.stage, &flows, report?)?;
                let own = suite.flows.len();
                let noticed = validation.map(|it| !is_content(it, &ran));
                Judged {
                    probe_noticed: noticed,
                    ..judge(mutant, expected, &suite.flows, (&whole[..own], &ran[..own]))
                }
            }
        });
    }
    let about = Mutated {
        name: &one.subject.name,
        suite: suite.flows.len(),
        added: suite.added,
        left: &left,
        seconds: started.elapsed().as_secs_f64(),
        validated: validation.is_some(),
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
        undecided,
        ..
    } = Score::of(&judged);
    Ok(match (survived, undecided + doubtful + left.len()) {
        (1.., _) => ExitCode::from(1),
        (0, 1..) => ExitCode::from(Class::Incomplete.exit_code()),
        (0, 0) => ExitCode::SUCCESS,
    })
}

/// The flows of a snapshot as they are, or those of the rules with what they lack.
fn suite(args: &Args, one: &Tried, tried: &[Tried], all: &[Mutant]) -> Result<Suite, Failure> {
    let stage = tried::stage(tried, &args.probe.address);
    let choice =
        choose(&[&one.subject], &stage, args.probe.sampling()).ok_or_else(tried::too_much)?;
    let given = args.suite.as_deref().map(tried::snapshot).transpose()?;
    let (stage, base) = match &given {
        Some(it) => (
            it.stage,
            it.entries.iter().map(|it| it.flow.clone()).collect(),
        ),
        None => (stage, choice.flows),
    };
    let mut expected = side_by_side(all, |it| {
        behaviour::expected(&one.subject, it, &stage, &base)
    });
    let mut flows = base.clone();
    if given.is_none() {
        flows = completed(&base, &expected);
        let noticed = expected
            .iter_mut()
            .filter(|it| matches!(it, Expected::ToldBy(_)));
        noticed.for_each(|it| *it = Expected::Noticed);
    }
    Ok(Suite {
        stage,
        added: flows.len() - base.len(),
        flows,
        landings: choice.landings,
        expected,
    })
}

/// What the rules themselves do has to be sure, and a validation has to be content with them.
fn trusted(
    one: &Tried,
    flows: &[Flow],
    whole: &[Ran],
    validation: Option<Validation>,
) -> Result<(), Failure> {
    if tried::say_disagreements(&tried::disagreements(&one.subject, flows, whole)) {
        let what = "what the rules themselves do is not sure";
        return Err(Failure::new(Class::Incomplete, what));
    }
    match validation.is_none_or(|it| is_content(it, whole)) {
        true => Ok(()),
        false => {
            let what = "Istio's validation fails with the whole rule set already";
            Err(Failure::new(Class::Input, what))
        }
    }
}

fn is_content(validation: Validation, ran: &[Ran]) -> bool {
    ran.last()
        .is_some_and(|last| validation.passes(&last.seen.end))
}

/// Says on standard error how far it is.
struct Progress {
    started: Instant,
    total: usize,
    done: AtomicUsize,
}

impl Progress {
    /// One mutant is over.
    fn one(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(50) {
            let seconds = self.started.elapsed().as_secs();
            anstream::eprintln!("{done} of {} mutants, {seconds} s", self.total);
        }
    }
}

/// Maps all, half of them on each processor where there are two.
fn side_by_side<T: Sync, U: Send>(all: &[T], of: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let each = all.len().div_ceil(processors).max(1);
    let of = &of;
    std::thread::scope(|scope| {
        let parts: Vec<_> = all
            .chunks(each)
            .map(|part| scope.spawn(move || part.iter().map(of).collect::<Vec<U>>()))
            .collect();
        let joined = parts.into_iter().map(|it| {
            it.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    })
}

fn refused(mutant: &Mutant, failure: &Failure) -> Judged {
    Judged {
        mutant: mutant.to_string(),
        fate: Fate::Refused {
            words: failure.what.clone(),
        },
        probe_noticed: None,
        disagreements: Vec::new(),
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

/// The same plan with other rules, and a socket wherever they turn to.
fn mutated(plan: &ProbePlan, one: &Tried, mutant: &Mutant) -> ProbePlan {
    let broken = one
        .subject
        .with_rules("a mutant", mutant.sets.iter().cloned());
    let sets: Vec<RuleSet> = broken.sets().cloned().collect();
    let rules = match &mutant.nft {
        Some(text) => Written::Nft { nft: text.clone() },
        None => Written::Iptables(tried::texts(&sets)),
    };
    let mut ports = plan.landings.clone();
    ports.extend(landings(&broken));
    ProbePlan {
        rules,
        landings: ports,
        ..plan.clone()
    }
}
