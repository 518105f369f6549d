//! `hoplab counters`: what the rules of a pod have counted, and what moved.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Outcome, ago, pod::PodOfLab};
use crate::{
    cli::{
        stdout::{say, say_more},
        trace::ends::{self, End, Ends},
    },
    failure::{Class, Failure},
    live::{Reading, RunningLab},
    net::ProcessNamespace,
    netfilter::{Held, rules_here},
    report::{Counted, counted_json, counted_text, moved_lines},
    rules::{self, Family},
};

/// How often counters are read while they are watched.
const BETWEEN: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
#[command(after_help = "\
Every table of every holder (iptables-nft, iptables-legacy, nft), both families, chain by chain: place, packets, bytes, \
what moved since the last reading (+N), the rule. Rules of nft that do not count have -.

Reading changes nothing in the pod. Each call is the reading that the next one begins from.

Examples:
  hoplab counters reviews-v1
  hoplab counters reviews-v1 --since-last     only what moved since the last call
  hoplab counters reviews-v1 --watch          a line for each rule that moves, until Ctrl-C
  hoplab counters reviews-v1 --json | jq '.rules[] | select(.moved_packets > 0) | .rule'")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: PodOfLab,
    /// Only rules that moved since the last call
    #[arg(long)]
    since_last: bool,
    /// Go on, with a line for each rule that moves
    #[arg(short, long, conflicts_with = "since_last")]
    watch: bool,
    /// With --watch, end after this time, such as 10s
    #[arg(long = "for", value_name = "TIME", requires = "watch", value_parser = ends::duration)]
    time: Option<Duration>,
    /// Print JSON: one value, with --watch one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let lab = args.place.find()?;
    let namespace = lab.namespace_of(&args.place.pod)?;
    // While there is one thread.
    namespace.enter_user_namespace()?;
    match args.watch {
        true => watch(args, &lab, &namespace),
        false => once(args, &lab, &namespace),
    }
}

fn once(args: &Args, lab: &RunningLab, namespace: &ProcessNamespace) -> Outcome {
    let pod = &args.place.pod;
    let last = lab.last_reading(pod);
    let counted = counted(pod, namespace, last.as_ref())?;
    lab.keep_reading(pod, reading(&counted))?;
    tell_incomparable(&counted);
    if args.json {
        say(&(json(args, &counted, last.as_ref())? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rules: usize = counted.iter().map(|it| it.rules.len()).sum();
    let text = counted_text(&counted, args.since_last);
    match (&last, rules) {
        (_, 0) => anstream::eprintln!("pod `{pod}` has no rules"),
        (None, _) => anstream::eprintln!("the first reading: the next one says what moved since"),
        (Some(last), _) if text.is_empty() => {
            anstream::eprintln!("nothing moved since the last reading, {} ago", ago(last.at));
        }
        (Some(last), _) => {
            anstream::eprintln!("+ since the last reading, {} ago", ago(last.at));
        }
    }
    // Without an earlier reading nothing is known to have moved.
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn watch(args: &Args, lab: &RunningLab, namespace: &ProcessNamespace) -> Outcome {
    let pod = &args.place.pod;
    let mut ends = Ends::watch(args.time)?;
    let mut last = reading(&counted(pod, namespace, None)?);
    anstream::eprintln!("watching the rules of pod `{pod}` of lab `{}`", lab.name());
    let end = loop {
        if let Some(end) = ends.come(namespace.process()) {
            break end;
        }
        wait(&ends, namespace)?;
        let now = match counted(pod, namespace, Some(&last)) {
            Ok(now) => now,
            // The last look may be at a namespace that is on its way out.
            Err(failure) => match ends.come(namespace.process()) {
                Some(end) => break end,
                None => return Err(failure),
            },
        };
        tell_incomparable(&now);
        let lines = match (args.json, moved_lines(&now)) {
            (_, lines) if lines.is_empty() => lines,
            (true, _) => vec![json(args, &now, Some(&last))?],
            (false, lines) => lines,
        };
        last = reading(&now);
        let more = lines.is_empty() || say_more(&(lines.join("\n") + "\n"))?;
        if !more {
            break End::ReaderGone;
        }
    };
    lab.keep_reading(pod, last).ok();
    Ok(match end {
        End::Process => {
            return Err(
                Failure::new(Class::State, format!("a process of pod `{pod}` has ended"))
                    .hint("hoplab status says what is left of the lab"),
            );
        }
        // Ctrl-C is how one ends what goes on for ever.
        End::Signal(number) if args.time.is_some() => ExitCode::from(128 + number),
        _ => ExitCode::SUCCESS,
    })
}

/// Until it is time to look again, or the end has come.
fn wait(ends: &Ends, namespace: &ProcessNamespace) -> Result<(), Failure> {
    let left = ends
        .deadline()
        .map(|it| it.saturating_duration_since(Instant::now()));
    let time = left.map_or(BETWEEN, |it| it.min(BETWEEN));
    let fds = ends.to_wait_for(namespace.process());
    // POLLIN of standard output never comes; that its reader is gone comes unasked.
    let mut fds: Vec<PollFd> = fds
        .into_iter()
        .map(|it| PollFd::new(it, PollFlags::POLLIN))
        .collect();
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Failure::new(Class::Machine, "could not wait").cause(errno.to_string())),
    }
}

/// What the pod's rules have counted, against an earlier reading.
pub(super) fn counted(
    pod: &str,
    namespace: &ProcessNamespace,
    earlier: Option<&Reading>,
) -> Result<Vec<Counted>, Failure> {
    let place = format!("pod `{pod}`");
    let held: Vec<Held> = namespace.visit(|| rules_here(&place))??;
    let mut all = Vec::new();
    for Held { by, text } in held {
        let origin = format!("the rules of {by} in {place}");
        let sets = rules::read(&text, &origin, Family::V4).and_then(|it| it.rules());
        let sets = sets.map_err(|it| Failure::new(Class::State, it.to_string()))?;
        // A table of both families gives both the same rules, with the same counters: once is enough.
        let shared = sets.len() > 1 && sets.iter().all(|it| it.is_shared());
        for set in sets.into_iter().filter(|it| !it.is_empty()) {
            if shared && set.family == Family::V6 {
                continue;
            }
            let like = rules::CounterSnapshot::of_nft(&set);
            let earlier = earlier.and_then(|it| it.of(by, &like));
            all.push(Counted::new(by, set, earlier));
        }
    }
    Ok(all)
}

fn reading(counted: &[Counted]) -> Reading {
    Reading::now(counted.iter().map(|it| (it.by, it.now.clone())).collect())
}

fn tell_incomparable(counted: &[Counted]) {
    for it in counted {
        if let Some(error) = it.incomparable() {
            anstream::eprintln!("note: what moved can't be told: {error}");
        }
    }
}

fn json(args: &Args, counted: &[Counted], last: Option<&Reading>) -> Result<String, Failure> {
    let only_moved = args.since_last || args.watch;
    let value = counted_json(counted, only_moved).map(|rules| {
        serde_json::json!({
            "pod": args.place.pod,
            // Seconds since 1970.
            "since": last.map(|it| it.at),
            "rules": rules,
        })
    });
    let text = value.and_then(|it| match args.watch {
        true => serde_json::to_string(&it),
        false => serde_json::to_string_pretty(&it),
    });
    text.map_err(|e| Failure::new(Class::State, format!("the counters have no JSON form: {e}")))
}
