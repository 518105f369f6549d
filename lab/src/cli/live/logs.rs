//! `hoplab logs`: what a process of a pod says, and the connections it has; what istio-init printed.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Outcome, pod::LabName};
use crate::{
    cli::{
        stdout::say_more,
        trace::ends::{End, Ends},
    },
    diagnostic::did_you_mean,
    failure::{Class, Failure},
    live::RunningLab,
    net::ProcessNamespace,
};

/// How often a log that is followed is looked at.
const BETWEEN: Duration = Duration::from_millis(200);

/// Container of the rules, as Istio calls it.
const INIT: &str = "istio-init";

#[derive(clap::Args)]
#[command(after_help = "\
Of app and proxy: what they write for people, and a line with CONN for each connection that begins, is made or ends. \
Of istio-init: environment, variables, the commands and what they printed.

Examples:
  hoplab logs reviews-v1/proxy
  hoplab logs reviews-v1 -f                 the app's, as it is written, until Ctrl-C
  hoplab logs reviews-v1/istio-init
  hoplab proxy-config log reviews-v1 --level trace     how much the proxy writes")]
pub(in crate::cli) struct Args {
    /// POD, POD/app, POD/proxy or POD/istio-init; node/dns is the DNS server's [default: the app's]
    #[arg(value_name = "POD[/PROCESS]")]
    place: String,
    #[command(flatten)]
    lab: LabName,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let lab = args.lab.find()?;
    let (pod, process) = match args.place.split_once('/') {
        Some((pod, process)) => (pod, Some(process)),
        None => (args.place.as_str(), None),
    };
    let known = logs_of(&lab, pod)?;
    let process = chosen(&lab, pod, process, &known)?;
    let paths = lab.log_of(pod, process);
    let [before, now] = &paths;
    let mut shown = Shown { open: None };
    for path in [before, now] {
        if !shown.whole(path)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    match args.follow {
        false => Ok(ExitCode::SUCCESS),
        true => follow(&lab, now, &mut shown),
    }
}

/// What has a log in a pod.
fn logs_of(lab: &RunningLab, pod: &str) -> Result<Vec<&'static str>, Failure> {
    if pod == "node" {
        let dns = lab.state().node.iter().map(|it| it.role.name());
        return Ok(dns.collect());
    }
    lab.processes_in(pod)?;
    let file = lab.lab_file()?;
    let known = file.topology.pod(pod).map(|it| {
        let app = it.app.is_some().then_some("app");
        let proxy = it.proxy.is_some().then_some("proxy");
        app.into_iter().chain(proxy).collect::<Vec<_>>()
    });
    let mut known = known.unwrap_or_default();
    if lab.log_of(pod, INIT)[1].exists() {
        known.push(INIT);
    }
    Ok(known)
}

/// The process that was named, or the first: which one is said, as kubectl says it.
fn chosen(
    lab: &RunningLab,
    pod: &str,
    named: Option<&str>,
    known: &[&'static str],
) -> Result<&'static str, Failure> {
    let nothing = |what: String| Failure::new(Class::Input, what);
    let Some(first) = known.first() else {
        return Err(nothing(format!(
            "nothing in `{pod}` of lab `{}` has a log",
            lab.name()
        )));
    };
    let Some(named) = named else {
        if known.len() > 1 {
            anstream::eprintln!("Defaulted to \"{first}\" out of: {}", known.join(", "));
        }
        return Ok(first);
    };
    let found = known.iter().find(|it| **it == named);
    found.copied().ok_or_else(|| {
        let near = did_you_mean(named, known.iter().copied());
        nothing(format!(
            "pod `{pod}` of lab `{}` has no `{named}` with a log",
            lab.name()
        ))
        .hint(near.unwrap_or_else(|| format!("it has: {}", known.join(", "))))
    })
}

/// A log as far as it was shown.
struct Shown {
    open: Option<File>,
}

impl Shown {
    /// Shows a part from its beginning, and keeps it open. False when nobody reads any more.
    fn whole(&mut self, path: &PathBuf) -> Result<bool, Failure> {
        match File::open(path) {
            Ok(file) => {
                self.open = Some(file);
                self.rest()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(Failure::new(Class::Machine, "could not read the log")
                .cause(error.to_string())
                .hint("a lab's logs are read by the user who brought it up, or by root")),
        }
    }

    /// Shows what was written since.
    fn rest(&mut self) -> Result<bool, Failure> {
        let Some(file) = &mut self.open else {
            return Ok(true);
        };
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text);
        read.map_err(|error| {
            Failure::new(Class::State, "could not read the log").cause(error.to_string())
        })?;
        match text.is_empty() {
            true => Ok(true),
            false => say_more(&String::from_utf8_lossy(&text)),
        }
    }

    /// Whether the log goes on in a new file.
    fn goes_on_elsewhere(&self, path: &PathBuf) -> bool {
        let there = std::fs::metadata(path).map(|it| it.ino());
        let here = self
            .open
            .as_ref()
            .map(|it| it.metadata().map(|it| it.ino()));
        match (there, here) {
            (Ok(there), Some(Ok(here))) => there != here,
            (Ok(_), None) => true,
            _ => false,
        }
    }
}

fn follow(lab: &RunningLab, path: &PathBuf, shown: &mut Shown) -> Outcome {
    let mut ends = Ends::watch(None)?;
    let supervisor = ProcessNamespace::open(lab.pid().unsigned_abs())?;
    loop {
        let end = ends.come(supervisor.process());
        // First: what was written before the log went on elsewhere, or the lab ended.
        let mut read = shown.rest()?;
        if read && shown.goes_on_elsewhere(path) {
            read = shown.whole(path)?;
        }
        match end {
            None if read => {}
            Some(End::Process) => {
                let what = format!("lab `{}` went down while its log was followed", lab.name());
                return Err(Failure::new(Class::State, what));
            }
            _ => return Ok(ExitCode::SUCCESS),
        }
        let _ = io::stdout().flush();
        let fds = ends.to_wait_for(supervisor.process());
        let mut fds: Vec<PollFd> = fds
            .into_iter()
            .map(|it| PollFd::new(it, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(BETWEEN).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                return Err(Failure::new(Class::Machine, "could not wait").cause(errno.to_string()));
            }
        }
    }
}
