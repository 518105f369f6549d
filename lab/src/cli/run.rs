//! `hoplab run`: up, every flow, the verdict, down.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::ValueEnum;
use serde::Serialize;

mod rules;

use super::{
    Outcome,
    interrupt::Interrupt,
    istio::{IstioFlags, PodArgs},
    keep,
    stdout::say,
};
use crate::{
    Lab, LabFile, Options,
    diagnostic::did_you_mean,
    doctor,
    evidence::Evidence,
    failure::{Class, Failure},
    istio::Release,
    judge::{self, Judgement, Verdict},
    netfilter::BackendChoice,
    report::{self, Detail, Run},
    rules::Family,
    sandbox::{Supervisor, protocol::Down},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab run bookinfo                        the main job, on whatever backend istio-init would take
  hoplab run bookinfo --family ipv6          the IPv6 half: the pods get IPv6 rules too
  hoplab run bookinfo --rules my.rules       what would my rules do to Bookinfo's traffic?
  hoplab run bookinfo --istio 1.32           under the rules injection gives a pod with Istio 1.32
  hoplab run bookinfo --istio 1.32 --inbound-interception-mode TPROXY --redirect-dns --dual-stack
  hoplab run bookinfo --istio 1.24 --annotation traffic.sidecar.istio.io/excludeInboundPorts=9080
  hoplab run bookinfo --flow app-to-own-ip -v
  hoplab run ./my-lab.toml --out out --junit junit.xml")]
pub(super) struct Args {
    /// A lab that hoplab carries (bookinfo), or the path of a lab file
    lab: String,
    /// Which iptables to run: nft, legacy or auto
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// Family the flows run over [default: ipv4]; ipv6 sets the IPv6 rules of every sidecar pod too, and with
    /// --dual-stack each flow runs over both
    #[arg(long, value_parser = super::family)]
    family: Option<Family>,
    /// Send only this flow (repeatable); the notes are judged when all flows run
    #[arg(long = "flow", value_name = "NAME")]
    flows: Vec<String>,
    /// Apply the rules of this file in the sidecar pods, in place of the lab's own: a restore file, a dump, a listing
    /// or a log of istio-init
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Apply the rules of this Istio release, 1.12 to 1.32; flags, a pod or annotations alone mean the newest one
    #[arg(long, value_name = "RELEASE")]
    istio: Option<Release>,
    /// What flows are judged by: the lab file's paths, or what the applied rules are to do [default: the file's, but
    /// with an Istio configuration what its rules are to do]
    #[arg(long, value_name = "WHAT")]
    expect: Option<Judged>,
    #[command(flatten)]
    pod: PodArgs,
    #[command(flatten)]
    flags: IstioFlags<false>,
    /// Show each sidecar pod's nat table with its final counters
    #[arg(long)]
    counters: bool,
    /// Print everything as one JSON value on standard output
    #[arg(long, conflicts_with_all = ["counters", "verbose", "quiet"])]
    json: bool,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write evidence, verdicts and logs below this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave the lab up, and say how to enter it
    #[arg(long)]
    keep: bool,
    /// Show every claim with its witnesses
    #[arg(short, long)]
    verbose: bool,
    /// Show the verdict, and what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Milliseconds a flow may take until the logs show it closed
    #[arg(long, value_name = "MS", default_value = "5000")]
    deadline: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Judged {
    /// Answers and paths of the lab file
    File,
    /// What the model reads from the rules that were meant to be applied
    Rules,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    evidence: &'a Evidence,
    judgement: &'a Judgement,
    down: Option<&'a Down>,
    took_us: u64,
}

pub(super) fn run(args: &Args) -> Outcome {
    let started = Instant::now();
    let lab = LabFile::open(&args.lab)?;
    let flows = flows(args, &lab)?;
    let rules::Ruled {
        file,
        families,
        backend,
    } = rules::choose(args, lab)?;
    let options = Options {
        backend,
        families,
        deadline_ms: args.deadline,
    };
    let explain = |failure| doctor::explain(failure, backend, families.first());
    let supervisor = Supervisor::start().map_err(|e| explain(e.into()))?;
    let interrupt = Interrupt::watch(&supervisor)?;
    let observed = observe(supervisor, file.clone(), options, &flows);
    let (lab, evidence) = match (observed, interrupt.exit_code()) {
        (_, Some(code)) => return Ok(code),
        (Ok(observed), None) => observed,
        (Err(failure), None) => return Err(explain(failure)),
    };
    let judgement = judge::judge(&file, &evidence)?;
    let (down, kept) = if args.keep {
        let how = keep::how_to_enter(lab.pid(), &file.topology, &evidence);
        lab.keep()?;
        (None, Some(how))
    } else {
        let down = match (lab.down(), interrupt.exit_code()) {
            (_, Some(code)) => return Ok(code),
            (down, None) => down?,
        };
        (Some(down), None)
    };
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let run = Run {
        topology: &file.topology,
        evidence: &evidence,
        judgement: &judgement,
        down: down.as_ref(),
        took_us,
    };
    print(args, &run)?;
    write_files(args, &run)?;
    if let Some(how) = kept {
        anstream::eprint!("\n{how}");
    }
    Ok(exit_code(&judgement, down.as_ref()))
}

fn observe(
    supervisor: Supervisor,
    file: LabFile,
    options: Options,
    flows: &[String],
) -> Result<(Lab, Evidence), Failure> {
    let mut lab = Lab::up_in(supervisor, file, options.clone())?;
    for family in options.families.iter() {
        for flow in flows {
            lab.drive_over(flow, family)?;
        }
    }
    let evidence = lab.observed()?;
    Ok((lab, evidence))
}

fn flows(args: &Args, file: &LabFile) -> Result<Vec<String>, Failure> {
    let known: Vec<String> = file.topology.flows.iter().map(|f| f.name.clone()).collect();
    if known.is_empty() {
        return Err(Failure::new(
            Class::Input,
            format!("lab `{}` has no flow to send", file.topology.name),
        )
        .hint("add a [[flow]] to the lab file"));
    }
    for flow in &args.flows {
        if !known.contains(flow) {
            let near = did_you_mean(flow, known.iter().map(String::as_str));
            let hint = near.unwrap_or_else(|| format!("flows: {}", known.join(", ")));
            return Err(Failure::new(
                Class::Input,
                format!("lab `{}` has no flow `{flow}`", file.topology.name),
            )
            .hint(hint));
        }
    }
    Ok(if args.flows.is_empty() {
        known
    } else {
        args.flows.clone()
    })
}

fn print(args: &Args, run: &Run) -> Result<(), Failure> {
    if args.json {
        let json = Json {
            evidence: run.evidence,
            judgement: run.judgement,
            down: run.down,
            took_us: run.took_us,
        };
        let text = serde_json::to_string_pretty(&json)
            .map_err(|e| Failure::new(Class::State, format!("the result has no JSON form: {e}")))?;
        return say(&(text + "\n"));
    }
    let detail = match (args.quiet, args.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Normal,
    };
    if args.counters {
        say(&report::counters(run.evidence))?;
    }
    say(&report::summary(run, detail))
}

fn write_files(args: &Args, run: &Run) -> Result<(), Failure> {
    let failed = |path: &PathBuf, e: String| {
        Failure::new(Class::Input, format!("could not write {}", path.display())).cause(e)
    };
    // The directory first: the JUnit file may be meant to go into it.
    if let Some(dir) = &args.out {
        report::write_run(dir, run).map_err(|e| failed(dir, e.to_string()))?;
    }
    if let Some(path) = &args.junit {
        let xml = report::junit(&run.evidence.lab, run.judgement)
            .map_err(|e| failed(path, e.to_string()))?;
        std::fs::write(path, xml).map_err(|e| failed(path, e.to_string()))?;
    }
    Ok(())
}

fn exit_code(judgement: &Judgement, down: Option<&Down>) -> ExitCode {
    match judgement.verdict {
        Verdict::Refuted => ExitCode::from(1),
        Verdict::Unproven => ExitCode::from(5),
        Verdict::Holds if down.is_some_and(|d| !d.leftovers.is_empty()) => {
            ExitCode::from(Class::State.exit_code())
        }
        Verdict::Holds => ExitCode::SUCCESS,
    }
}
