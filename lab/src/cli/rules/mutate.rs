//! `hoplab rules mutate`: mistakes in a rule set, one at a time, and which flows notice them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde_json::json;

use super::tried::{self, ProbeArgs, Tried};
use crate::{
    behaviour::{
        self, Expected, Fate, Flow, Judged, Mutant, Origin, Ran, Score, SeenEnd, choose, completed,
        judge, mutants,
    },
    cli::{
        Outcome,
        interrupt::Interrupt,
        source::{self, Source},
        stdout::say,
        trace::ends,
    },
    failure::{Class, Failure},
    ports,
    probe::{Pool, ProbePlan},
    rules::{Family, Protocol, RuleSet, Written},
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

Exit codes: 0 no mutant survived, 1 one did, 5 one could not be decided, or model and kernel are of two minds.")]
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
    scored: Option<Probe>,
    /// Show every mutant, not only those that nobody noticed
    #[arg(short, long)]
    verbose: bool,
    /// Print everything as one JSON value
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

/// A probe that a mesh has of its own.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Probe {
    /// The validation of istio-init: the proxy's user calls 127.0.0.6:15002 and expects 15001 or 15006 to see it
    Istio,
}

impl Probe {
    /// `pkg/test/... validation`: the client is the proxy's user, the port is `IPTABLES_PROBE_PORT`.
    fn flow(self) -> Flow {
        let Self::Istio = self;
        Flow {
            protocol: Protocol::Tcp,
            origin: Origin::Pod {
                uid: 1337,
                gid: 1337,
                mark: 0,
            },
            source: IpAddr::from([127, 0, 0, 1]),
            to: SocketAddr::from(([127, 0, 0, 6], 15002)),
        }
    }

    fn passes(self, end: &SeenEnd) -> bool {
        let Self::Istio = self;
        match end {
            SeenEnd::Reached(at) => [ports::OUTBOUND, ports::INBOUND].contains(&at.port),
            _ => false,
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let started = Instant::now();
    let (tried, names) = tried::read(&[&args.source], &args.probe)?;
    let [one] = &tried[..] else {
        unreachable!("one source was read");
    };
    if one.rules.is_nft() {
        let what = format!("{} holds rules of native nft", one.subject.name);
        return Err(Failure::new(Class::Input, what)
            .cause("mutants are written for iptables-restore")
            .hint("mutate the same rules of iptables; `hoplab rules diff` says whether they are the same"));
    }
    let stage = tried::stage(&tried, &args.probe.address);
    let choice =
        choose(&[&one.subject], &stage, args.probe.sampling()).ok_or_else(tried::too_much)?;
    let all = chosen(args, one);
    let given = args.suite.as_deref().map(tried::snapshot).transpose()?;
    let base = match &given {
        Some(snapshot) => snapshot.entries.iter().map(|it| it.flow.clone()).collect(),
        None => choice.flows.clone(),
    };
    let stage = given.as_ref().map_or(stage, |it| it.stage);
    let mut expected = side_by_side(&all, |it| {
        behaviour::expected(&one.subject, it, &stage, &base)
    });
    let mut flows = match given {
        Some(_) => base.clone(),
        None => completed(&base, &expected),
    };
    if given.is_none() {
        let noticed = expected
            .iter_mut()
            .filter(|it| matches!(it, Expected::ToldBy(_)));
        noticed.for_each(|it| *it = Expected::Noticed);
    }
    let suite = flows.len();
    // The scored probe goes last, and kills nothing.
    flows.extend(args.scored.map(Probe::flow));
    let whole = one.plan(args.probe.backend, &names, stage, &flows, &choice.landings);
    let broken = all.iter().map(|it| mutated(&whole, one, it));
    let plans: Vec<ProbePlan> = std::iter::once(whole.clone()).chain(broken).collect();
    let pool = Pool::for_work(plans.len())?;
    let interrupt = Interrupt::watch_pool(&pool)?;
    let (total, done) = (all.len(), AtomicUsize::new(0));
    let in_time = || args.time.is_none_or(|time| started.elapsed() < time);
    let mut reports = pool
        .play_while(plans, in_time, |at, _| {
            let done = done.fetch_add(usize::from(at > 0), Ordering::Relaxed) + 1;
            if done % 50 == 0 {
                anstream::eprintln!(
                    "{done} of {total} mutants, {} s",
                    started.elapsed().as_secs()
                );
            }
        })
        .into_iter();
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let report = reports.next().flatten().ok_or_else(|| {
        Failure::new(Class::Input, "no time was left for the rules themselves")
            .hint("give --for more")
    })??;
    let whole = tried::ran(&one.subject, &stage, &flows, report)?;
    if tried::say_disagreements(&tried::disagreements(&one.subject, &flows, &whole)) {
        return Err(Failure::new(
            Class::Incomplete,
            "what the rules themselves do is not sure",
        ));
    }
    if let Some(probe) = args
        .scored
        .filter(|it| !whole.last().is_some_and(|last| it.passes(&last.seen.end)))
    {
        let Probe::Istio = probe;
        return Err(Failure::new(
            Class::Input,
            "Istio's validation fails with the whole rule set already",
        ));
    }
    let mut judged = Vec::new();
    let mut left = 0;
    for ((mutant, expected), report) in all.iter().zip(&expected).zip(reports) {
        let Some(report) = report else {
            left += 1;
            continue;
        };
        let report = match report {
            Err(failure) if failure.class == Class::Input => {
                judged.push(refused(mutant, &failure));
                continue;
            }
            other => other?,
        };
        let broken = one
            .subject
            .with_rules(mutant.to_string(), mutant.set.clone());
        let ran = tried::ran(&broken, &stage, &flows, report)?;
        let mut one = judge(
            mutant,
            expected,
            &flows[..suite],
            (&whole[..suite], &ran[..suite]),
        );
        one.probe_noticed = args.scored.map(|probe| noticed(probe, &ran));
        judged.push(one);
    }
    let about = Told {
        name: &one.subject.name,
        suite,
        added: suite - base.len(),
        left,
        seconds: started.elapsed().as_secs_f64(),
    };
    let score = Score::of(&judged);
    say(&match args.json {
        true => about.json(&judged, score),
        false => about.text(args, &judged, score),
    })?;
    let doubtful = judged
        .iter()
        .any(|it| tried::say_disagreements(&it.disagreements));
    Ok(match (score.survived, score.undecided, doubtful) {
        (1.., ..) => ExitCode::from(1),
        (0, 1.., _) | (0, 0, true) => ExitCode::from(Class::Incomplete.exit_code()),
        (0, 0, false) => ExitCode::SUCCESS,
    })
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

fn noticed(probe: Probe, ran: &[Ran]) -> bool {
    !ran.last().is_some_and(|last| probe.passes(&last.seen.end))
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
fn chosen(args: &Args, one: &Tried) -> Vec<Mutant> {
    let wanted = |it: &Mutant| {
        args.kind.is_empty() || args.kind.iter().any(|kind| it.what.starts_with(kind))
    };
    let all = one.subject.sets().flat_map(mutants).filter(wanted);
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
    all.into_iter().map(|(_, it)| it).collect()
}

/// The same plan with other rules.
fn mutated(plan: &ProbePlan, one: &Tried, mutant: &Mutant) -> ProbePlan {
    let sets: Vec<RuleSet> = one
        .subject
        .with_rules("a mutant", mutant.set.clone())
        .sets()
        .cloned()
        .collect();
    let texts: BTreeMap<Family, String> = tried::texts(&sets);
    ProbePlan {
        rules: Written::Iptables(texts),
        ..plan.clone()
    }
}

struct Told<'a> {
    name: &'a str,
    suite: usize,
    /// Of these, how many are there for mistakes that one flow of each kind would not notice.
    added: usize,
    left: usize,
    seconds: f64,
}

impl Told<'_> {
    fn json(&self, judged: &[Judged], score: Score) -> String {
        let value = json!({
            "rules": self.name,
            "flows": self.suite,
            "flows_added": self.added,
            "seconds": self.seconds,
            "not_tried": self.left,
            "score": score,
            "mutants": judged,
        });
        format!("{value:#}\n")
    }

    fn text(&self, args: &Args, judged: &[Judged], score: Score) -> String {
        let mut out = String::new();
        for one in judged {
            let silent = matches!(
                one.fate,
                Fate::Killed { .. } | Fate::Refused { .. } | Fate::Equivalent { .. }
            );
            if silent && !args.verbose {
                continue;
            }
            let _ = writeln!(out, "{}\n  {}", one.mutant, words(&one.fate));
        }
        let Score {
            killed,
            equivalent,
            survived,
            undecided,
            refused,
            probe,
        } = score;
        let _ = writeln!(
            out,
            "{}: {} mutants by {} flows each in {:.1} s: {killed} killed, {equivalent} equivalent, {survived} survived, \
             {undecided} undecided, {refused} refused",
            self.name,
            judged.len(),
            self.suite,
            self.seconds
        );
        if self.added > 0 {
            let _ = writeln!(
                out,
                "{} of the flows are there for mistakes that one flow of each kind would not notice",
                self.added
            );
        }
        if self.left > 0 {
            let _ = writeln!(out, "{} were not tried, for want of time", self.left);
        }
        if args.scored.is_some() {
            let _ = writeln!(
                out,
                "Istio's own validation noticed {probe} of the {}",
                judged.len() - refused
            );
        }
        out
    }
}

fn words(fate: &Fate) -> String {
    match fate {
        Fate::Killed { by, was, is, flows } => {
            format!("killed by {flows} flows, first {by}\n    was: {was}\n    is:  {is}")
        }
        Fate::Equivalent { asked, kinds } => format!(
            "equivalent: none of {asked} flows of {kinds} kinds is treated otherwise, says the model"
        ),
        Fate::Survived { told_by } => format!("survived: {told_by} would tell"),
        Fate::Undecided { why } => format!("undecided: {why}"),
        Fate::Refused { words } => format!("refused: {words}"),
    }
}
