//! `hoplab explain`: a connection's way, hop by hop.

mod from_file;
#[cfg(all(feature = "kernel", target_os = "linux"))]
pub(super) mod in_lab;
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
mod no_lab;
#[cfg(not(all(feature = "kernel", target_os = "linux")))]
mod no_process;
#[cfg(all(feature = "kernel", target_os = "linux"))]
mod of_process;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

#[cfg(not(all(feature = "kernel", target_os = "linux")))]
use self::{no_lab as in_lab, no_process as of_process};

use super::{Outcome, stdout::say};
use crate::{
    failure::{Class, Failure},
    path::Path,
    report::{Detail, path_text},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hoplab explain 'productpage-v1 -> reviews:9080'        in the lab that is up, else in one brought up for it
  hoplab explain client reviews-v1:9080 -q               only what matched; without the arrow nothing needs quotes
  hoplab explain details-v1 10.77.0.16:9080 --as 2000:1337
  hoplab explain details-v1 dns:ratings --istio 1.32 --redirect-dns --udp
  hoplab explain ingress-reviews-v2                      a flow of the lab file, with everything it sets off
  hoplab explain client reviews-v1:9080 --rules my.rules
  hoplab explain --pid 4711 1000:1000 10.96.0.13:9080    what rules and counters of a container say of it
  hoplab explain --pid 4711 --trace --port 9080 --for 10s
  hoplab explain --from out/evidence.ndjson probe-15021  a flow of a recorded run, on any machine

Each numbered line is a hop; at its end stand those who saw it. ✔ is a rule that matched, ✗ one that was asked before it \
and did not: the first condition that failed, by the model. A line with ! says who contradicts whom.

Exit codes: 0 the path is whole, 1 witnesses contradict each other, 2 a name, flag or file is wrong, 5 observations were \
lost.")]
pub(super) struct Args {
    /// FROM and TO with or without an arrow, or the name of a flow. FROM: a pod, pod/app, pod/proxy, pod/UID:GID, node.
    /// TO: pod:port, service:port, localhost:port, ADDRESS:port, dns:NAME
    #[arg(required_unless_present = "trace", value_name = "FLOW", num_args = 1..=3)]
    flow: Vec<String>,
    /// Explain a flow of a recorded run; - is standard input. Needs no root
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    lab: in_lab::LabArgs,
    #[command(flatten)]
    process: of_process::ProcessArgs,
    /// Every hook and interface, process ids
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Only what matched
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    quiet: bool,
    /// Print the path as one JSON value
    #[arg(long)]
    json: bool,
}

/// What came of a connection that was sent; in a build without the kernel half none is.
#[cfg_attr(not(all(feature = "kernel", target_os = "linux")), expect(dead_code))]
enum Sent {
    /// Its path.
    Whole(Path),
    /// A signal came first.
    Interrupted(ExitCode),
}

/// What a person asks for.
pub(super) enum Wanted {
    /// A flow by its name.
    Named(String),
    /// A sender and a target.
    Route { from: String, to: String },
}

pub(super) fn run(args: &Args) -> Outcome {
    let wanted = || Wanted::of(&args.flow);
    let show = |path: &Path| say(&shown(args, path)?);
    if let Some(pid) = args.process.pid {
        if args.lab.are_about_rules() {
            return Err(Failure::new(
                Class::Input,
                "--pid does not go with flags for rules or a family",
            )
            .cause("its rules are those that are there, and its address says which family"));
        }
        let wanted = (!args.flow.is_empty()).then(wanted).transpose()?;
        return match of_process::path(&args.process, pid, wanted.as_ref(), args.lab.over())? {
            Sent::Whole(path) => show(&path).map(|()| exit_code(&path)),
            Sent::Interrupted(code) => Ok(code),
        };
    }
    let path = match &args.from {
        Some(file) => {
            let path = from_file::path(file, &wanted()?, args.lab.family())?;
            show(&path)?;
            path
        }
        None => match in_lab::path(&args.lab, &wanted()?, show)? {
            Sent::Whole(path) => path,
            Sent::Interrupted(code) => return Ok(code),
        },
    };
    Ok(exit_code(&path))
}

fn shown(args: &Args, path: &Path) -> Result<String, Failure> {
    if args.json {
        let text = serde_json::to_string_pretty(path)
            .map_err(|e| Failure::new(Class::State, format!("the path has no JSON form: {e}")))?;
        return Ok(text + "\n");
    }
    let detail = match (args.quiet, args.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Normal,
    };
    Ok(path_text(path, detail))
}

/// Witnesses that contradict each other are a finding. What was lost makes the path incomplete, and then a contradiction
/// may be but the gap.
pub(super) fn exit_code(path: &Path) -> ExitCode {
    let mut hops = path.hops();
    match path.lost.is_empty() {
        false => ExitCode::from(Class::Incomplete.exit_code()),
        true if hops.any(|it| !it.contradictions.is_empty()) => ExitCode::from(1),
        true => ExitCode::SUCCESS,
    }
}

/// A command line with each `->` of this verb and of `send` as `→`: clap takes what begins with a dash for a flag.
pub(super) fn with_arrows(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_ours = false;
    args.enumerate().map(move |(place, word)| {
        is_ours |= place == 1 && (word == "explain" || word == "send");
        match is_ours && word == "->" {
            true => "→".into(),
            false => word,
        }
    })
}

impl Wanted {
    pub(super) fn of(words: &[String]) -> Result<Self, Failure> {
        let bad = |what: &str| {
            Failure::new(Class::Input, what.to_owned())
                .hint("write FROM TO, or 'FROM -> TO' in quotes, or the name of a flow")
        };
        let route = |from: &str, to: &str| Self::Route {
            from: from.trim().to_owned(),
            to: to.trim().to_owned(),
        };
        if words.last().is_some_and(|it| it == "-") {
            return Err(bad(
                "there is no target: without quotes the shell takes `> TO` for a file to write to",
            ));
        }
        match words {
            [one] => match one.split_once("->").or_else(|| one.split_once('→')) {
                Some((from, to)) if !from.trim().is_empty() && !to.trim().is_empty() => {
                    Ok(route(from, to))
                }
                Some(_) => Err(bad(
                    "an arrow needs a sender before it and a target after it",
                )),
                None => Ok(Self::Named(one.trim().to_owned())),
            },
            [from, to] => Ok(route(from, to)),
            [from, arrow, to] if ["→", "to"].contains(&arrow.as_str()) => Ok(route(from, to)),
            _ => Err(bad("these words are no flow")),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Route { from, to } => write!(f, "{from} -> {to}"),
        }
    }
}
