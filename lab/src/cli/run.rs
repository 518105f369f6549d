//! `hoplab run`: up, every flow, the verdict, down.

use std::{panic::resume_unwind, path::PathBuf, process::ExitCode, thread, time::Instant};

mod all;
mod goldens;
pub(super) mod rules;
mod script;

use self::{
    rules::{RuleArgs, Ruled},
    script::{flows, script, with_whole_script},
};

use super::{
    Outcome,
    interrupt::Interrupt,
    keep, live,
    recording::Recording,
    show::{self, ShowArgs},
};
use crate::{
    Families, Lab, LabFile, Options, doctor,
    evidence::{Down, Evidence, file::Planned},
    failure::{Class, Failure},
    judge::{self, Judgement, Verdict},
    live::{Claim, Registry},
    report::{self, Run},
    sandbox::Supervisor,
    topology::{Entry, Variant},
    traced::Tracing,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab run bookinfo                        the main job, on whatever backend istio-init would take
  hoplab run bookinfo --family ipv6          the IPv6 half: the pods get IPv6 rules too
  hoplab run bookinfo --rules my.rules       what would my rules do to Bookinfo's traffic?
  hoplab run bookinfo --rules profile:kuma   under Kuma's rules, its proxy included
  hoplab run bookinfo --istio 1.32           under the rules injection gives a pod with Istio 1.32
  hoplab run bookinfo --istio 1.32 --inbound-interception-mode TPROXY --redirect-dns --dual-stack
  hoplab run bookinfo --native-nftables      the same rules in Istio's other language, applied by nft
  hoplab run bookinfo --ambient --redirect-dns --dual-stack
  hoplab run bookinfo --istio 1.24 --annotation traffic.sidecar.istio.io/excludeInboundPorts=9080
  hoplab run bookinfo --flow app-to-own-ip -v
  hoplab run ./my-lab.toml --until NAME      everything up to a flow, its steps included
  hoplab run ./my-lab.toml --out out --junit junit.xml
  hoplab run ./my-lab.toml --variant NAME    with what this variant of the file changes
  hoplab run --all scenarios/labs            every lab file, backend, family and variant, as a table
  hoplab run --all scenarios/labs --partition count:1/4 --junit junit.xml --out failures
  hoplab run --all my-labs --repeat 100 -q   a hunt for flakes")]
pub(super) struct Args {
    /// A lab that hoplab carries (bookinfo), or the path of a lab file; with --all a directory of them
    lab: String,
    /// Run every lab file of a directory, in every way it makes sense: exit code 0 when all come out as they say
    #[arg(long)]
    all: bool,
    /// Run this variant of the lab file: exit code 0 when it comes out as the file says, refuted or not
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Send only this flow (repeatable); the notes are judged when all flows run
    #[arg(long = "flow", value_name = "NAME")]
    flows: Vec<String>,
    /// Play the lab file up to this flow: all flows and steps before it, as they may be what it stands on
    #[arg(long, value_name = "FLOW", conflicts_with = "flows")]
    until: Option<String>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    suite: all::SuiteArgs,
    /// Write evidence, verdicts and logs below this directory, which holds no other run's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the evidence to this file, flow by flow; `hoplab judge FILE` reads it
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    evidence: Option<PathBuf>,
    /// Trace no packets: counters, logs and conntrack are the witnesses then
    #[arg(long, conflicts_with = "all_packets")]
    no_trace: bool,
    /// Trace every packet, not only the first of each connection and the answer to it
    #[arg(long)]
    all_packets: bool,
    /// Write the paths of the flows as the golden ones that later runs compare with
    #[arg(long)]
    record: bool,
    /// Leave the lab up, and say how to enter it; `hoplab down` takes it down
    #[arg(long)]
    keep: bool,
    /// Name to find a kept lab by [default: the one in the lab file]
    #[arg(long, requires = "keep", value_parser = live::name)]
    name: Option<String>,
    /// Milliseconds a flow may take until the logs show it closed
    #[arg(long, value_name = "MS", default_value = "5000")]
    deadline: u64,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.all {
        return all::run(args);
    }
    let started = Instant::now();
    let lab = LabFile::open(&args.lab)?;
    let variant = variant(args, &lab)?;
    let lab = match &variant {
        Some(variant) => lab.variant(&variant.name)?,
        None => lab,
    };
    let flows = flows(args, &lab)?;
    let script = script(args, &lab);
    let Ruled {
        file,
        families,
        backend,
    } = args.rules.choose(lab)?;
    goldens::check(args, &file)?;
    file.goes_over(families)?;
    with_whole_script(args, &file)?;
    let options = Options {
        backend,
        families,
        deadline_ms: args.deadline,
        tracing: match (args.no_trace, args.all_packets) {
            (true, _) => Tracing::Off,
            (_, true) => Tracing::All,
            _ => Tracing::default(),
        },
        ..Options::default()
    };
    let name = args.name.as_ref().unwrap_or(&file.topology.name).clone();
    let mut place = match args.keep {
        true => Some(live::free_place(&Registry::of_user()?, &name)?),
        false => None,
    };
    let listener = place.as_mut().map(Claim::listen).transpose()?;
    let mut recording = begin(args, &file, families, &flows)?;
    let explain = |failure| doctor::explain(failure, backend, families.first());
    let spawned = match &listener {
        Some(listener) => Supervisor::start_listening(listener),
        None => Supervisor::start(),
    };
    let supervisor = spawned.map_err(|e| explain(e.into()))?;
    drop(listener);
    let interrupt = Interrupt::watch(&supervisor)?;
    let observed = observe(
        supervisor,
        file.clone(),
        options,
        (&script, &flows),
        recording.as_mut(),
    );
    let (lab, evidence) = match (observed, interrupt.exit_code()) {
        (_, Some(code)) => return Ok(code),
        (Ok(observed), None) => observed,
        (Err(Trouble::Lab(failure)), None) => return Err(explain(failure)),
        (Err(Trouble::Evidence(failure)), None) => return Err(failure),
    };
    let (judgement, down, kept) = if let Some(place) = place {
        let judgement = judge::judge(&file, &evidence)?;
        let how = keep::how_to_enter(&name, lab.pid(), &file.topology, &evidence);
        place.keep(&name, lab)?;
        (judgement, None, Some(how))
    } else {
        let (judgement, down) = judge_while_it_goes_down(&file, &evidence, lab);
        let down = match (down, interrupt.exit_code()) {
            (_, Some(code)) => return Ok(code),
            (down, None) => down?,
        };
        (judgement?, Some(down), None)
    };
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let Some(recording) = &mut recording {
        recording.end(down.as_ref(), took_us)?;
    }
    let run = Run {
        topology: &file.topology,
        evidence: &evidence,
        judgement: &judgement,
        down: down.as_ref(),
        took_us: Some(took_us),
    };
    args.show.print(&run)?;
    let differs = goldens::settle(args, &file, &evidence)?;
    // The directory first: the JUnit file may be meant to go into it.
    if let Some(dir) = &args.out {
        report::write_run(dir, &run).map_err(|e| show::not_written(dir, e))?;
    }
    args.show.write_junit(&run)?;
    if let Some(how) = kept {
        anstream::eprint!("\n{how}");
    }
    if let Some(variant) = &variant {
        return as_expected(variant, &judgement, down.as_ref());
    }
    Ok(exit_code(&judgement, differs, down.as_ref()))
}

/// The evidence is complete: what the kernel needs to remove a lab is time to judge it.
fn judge_while_it_goes_down(
    file: &LabFile,
    evidence: &Evidence,
    lab: Lab,
) -> (Result<Judgement, Failure>, Result<Down, Failure>) {
    thread::scope(|scope| {
        let judging = scope.spawn(|| judge::judge(file, evidence));
        let down = lab.down();
        let judgement = judging.join();
        (judgement.unwrap_or_else(|panic| resume_unwind(panic)), down)
    })
}

/// The variant to run.
fn variant(args: &Args, lab: &LabFile) -> Result<Option<Variant>, Failure> {
    let Some(name) = &args.variant else {
        return Ok(None);
    };
    if args.rules.are_given_rules() {
        return Err(
            Failure::new(Class::Input, "--variant does not go with --rules")
                .hint("a variant brings its rules itself"),
        );
    }
    // Its complaint names the variants there are.
    lab.clone().variant(name)?;
    Ok(lab.topology.variant(name).cloned())
}

/// Of a variant counts whether it came out as the file says.
fn as_expected(variant: &Variant, judgement: &Judgement, down: Option<&Down>) -> Outcome {
    let words = judge::unexpected(Some(variant), judgement);
    for it in &words {
        anstream::eprintln!("not as variant {} says: {it}", variant.name);
    }
    let leftovers = down.is_some_and(|down| !down.leftovers.is_empty());
    Ok(match (words.is_empty(), leftovers) {
        (true, false) => {
            anstream::eprintln!("as variant {} says", variant.name);
            ExitCode::SUCCESS
        }
        (true, true) => ExitCode::from(Class::State.exit_code()),
        (false, _) => ExitCode::from(1),
    })
}

/// What stopped a run.
enum Trouble {
    /// A lab that broke, which the doctor may know more of.
    Lab(Failure),
    /// An evidence file that can't be written.
    Evidence(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lab(failure)
    }
}

fn observe(
    supervisor: Supervisor,
    file: LabFile,
    options: Options,
    (script, flows): (&[Entry], &[String]),
    mut recording: Option<&mut Recording>,
) -> Result<(Lab, Evidence), Trouble> {
    let mut lab = Lab::up_in(supervisor, file, options.clone())?;
    let mut record = |what: &dyn Fn(&mut Recording) -> Result<(), Failure>| match &mut recording {
        Some(recording) => what(recording).map_err(Trouble::Evidence),
        None => Ok(()),
    };
    record(&|it| it.up(&lab))?;
    for family in options.families.iter() {
        for entry in script {
            match *entry {
                Entry::Flow(at) => {
                    let flow = lab.file().topology.flows[at].name.clone();
                    if flows.contains(&flow) {
                        let window = lab.drive_over(&flow, family)?;
                        record(&|it| it.window(&window))?;
                    }
                }
                Entry::Step(at) => {
                    let taken = lab.step(at)?.clone();
                    record(&|it| it.step(&taken))?;
                }
            }
        }
    }
    let evidence = lab.observed()?;
    record(&|it| it.totals(&evidence.totals))?;
    Ok((lab, evidence))
}

/// The evidence file, if there is to be one.
fn begin(
    args: &Args,
    file: &LabFile,
    families: Families,
    flows: &[String],
) -> Result<Option<Recording>, Failure> {
    let over = |family| {
        let flows = flows.iter().cloned();
        flows.map(move |flow| Planned { flow, family })
    };
    let planned: Vec<Planned> = families.iter().flat_map(over).collect();
    match (&args.evidence, &args.out) {
        (Some(path), _) => Recording::begin(path, file, planned).map(Some),
        (None, Some(dir)) => Recording::in_directory(dir, file, planned).map(Some),
        (None, None) => Ok(None),
    }
}

/// A verdict that holds is not all: nothing of the lab may be left.
fn exit_code(judgement: &Judgement, differs: bool, down: Option<&Down>) -> ExitCode {
    let leftovers = down.is_some_and(|down| !down.leftovers.is_empty());
    match judgement.verdict {
        // A path that is not the golden one is a claim that failed.
        Verdict::Holds if differs => ExitCode::from(1),
        Verdict::Holds if leftovers => ExitCode::from(Class::State.exit_code()),
        verdict => show::exit_code(verdict),
    }
}
