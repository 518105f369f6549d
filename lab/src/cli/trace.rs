//! `hoplab trace`: connections in a pod of a running lab, or in the network namespace of any process, rule by rule, while
//! they happen.

pub(super) mod ends;
mod filter;

use std::{
    net::IpAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Outcome, stdout::say_more};
use crate::{
    failure::{Class, Failure},
    live,
    net::ProcessNamespace,
    report::{Surroundings, TRACE_LINES, TraceLine, block_lines, block_text},
    trace::{Lost, NamespaceTrace, Packets, Selection},
    traced::{Block, Blocks},
};

use self::{
    ends::{End, Ends},
    filter::{Filter, RuleFilter},
};

/// How often it is looked whether a packet on its way has got stuck.
const STUCK: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
#[command(after_help = "\
Each packet is shown with the hooks it passed, every rule that matched, its text, and what changed. By default of each \
connection the first packet and the answer; of UDP all. A connection is shown when its answer has passed, or after 200 ms.

To see this the kernel needs a table of observers in that namespace: a filter table that accepts everything, named on \
standard error. It goes when this ends, in whatever way. With legacy iptables net.netfilter.nf_log is set too, and set \
back; after SIGKILL it stays, without effect.

--json prints one value a line, its kind in \"event\": \"start\" first; \"packet\" (connection, reply, rules that matched with \
their text, changes, interfaces, packet: every hook as evidence files have it); \"conntrack\" (connection, entry); \"end\" \
last (why, connections, lost).

Exit codes: 0 after Ctrl-C, --for, or --count; 5 if the kernel lost reports, or if there were fewer connections than --count; \
130 and 143 if SIGINT or SIGTERM came before --count or --for was reached.

Examples:
  hoplab trace reviews-v1 --port 9080
  hoplab trace --pid $(docker inspect -f '{{.State.Pid}}' reviews)
  hoplab trace --pid 4711 --port 9080 --count 1 --for 10s
  hoplab trace --pid 4711 --rule ISTIO_OUTPUT:4
  hoplab trace --pid 4711 --rule '--to-ports 15001' --uid 1000
  hoplab trace --pid 4711 --json | jq -r 'select(.event==\"packet\") | .rules[].text'")]
pub(super) struct Args {
    /// Pod of a running lab
    #[arg(
        value_name = "POD",
        required_unless_present = "pid",
        conflicts_with = "pid"
    )]
    pod: Option<String>,
    /// Lab of the pod [default: the only one that is up]
    #[arg(long, value_name = "NAME", requires = "pod")]
    lab: Option<String>,
    /// The network namespace of this process, in place of a pod
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Connections from or to this port only, before or after translation; may be repeated
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
    /// Connections from or to this address only; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    peer: Vec<IpAddr>,
    /// Connections that a socket of this user sent a packet of, as a number of that namespace; may be repeated
    #[arg(long, value_name = "UID")]
    uid: Vec<u32>,
    /// Connections that met this rule: CHAIN, CHAIN:N for its Nth rule, or a part of a rule's text; may be repeated
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    rule: Vec<RuleFilter>,
    /// All packets of each connection, not only the first and the answer
    #[arg(long)]
    all_packets: bool,
    /// End after this many connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, such as 500ms, 10s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = ends::duration)]
    time: Option<Duration>,
    /// One JSON value a line
    #[arg(long)]
    json: bool,
    /// Also in the machine's own network namespace
    #[arg(long)]
    host: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (pid, place) = place(args)?;
    let namespace = ProcessNamespace::open(pid)?;
    if namespace.is_machines_own() && !args.host {
        let what = format!("{place} is in the machine's own network namespace");
        return Err(Failure::new(Class::Input, what)
            .cause("a trace there would see all of the machine's traffic, and add its table to the machine's rules")
            .hint("name a process of a container; if you mean the machine, add --host"));
    }
    // While there is one thread.
    namespace.enter_user_namespace()?;
    let mut ends = Ends::watch(args.time)?;
    let mut trace = NamespaceTrace::open(namespace, selection(args))?;
    let filter = Filter {
        uids: args.uid.clone(),
        rules: args.rule.clone(),
    };
    filter.check(trace.texts())?;
    tell_what_is_done(&trace, &place);
    let mut shown = Shown {
        blocks: Blocks::default(),
        filter,
        json: args.json,
        count: args.count,
    };
    let mut end = None;
    if args.json && !say_more(&start(&trace))? {
        end = Some(End::ReaderGone);
    }
    let end = match end {
        Some(end) => end,
        None => shown.until_end(&mut trace, &mut ends)?,
    };
    let (packets, lost) = trace.stop()?;
    if !matches!(end, End::ReaderGone | End::Count) {
        let now = Instant::now();
        for packet in packets {
            shown.blocks.add(packet, now);
        }
        let rest = shown
            .blocks
            .rest(|it| shown.filter.wants(it, trace.texts()));
        shown.show(&mut trace, rest)?;
    }
    let connections = shown.blocks.shown();
    if args.json {
        let about = Ended {
            why: end,
            connections,
            lost,
        };
        say_more(&TraceLine::End { about }.text())?;
    }
    if end == End::Process {
        anstream::eprintln!("{place} has ended");
    }
    conclude(args, &trace, end, connections, lost)
}

/// A process in the namespace, and what to call it.
fn place(args: &Args) -> Result<(u32, String), Failure> {
    match (&args.pod, args.pid) {
        (Some(pod), _) => {
            let lab = live::find(args.lab.as_deref())?;
            let place = format!("pod `{pod}` of lab `{}`", lab.name());
            Ok((lab.pid_in(pod)?, place))
        }
        (None, Some(pid)) => Ok((pid, format!("process {pid}"))),
        (None, None) => Err(Failure::new(Class::Input, "name a pod, or --pid")),
    }
}

fn selection(args: &Args) -> Selection {
    Selection {
        packets: match args.all_packets {
            true => Packets::All,
            false => Packets::FirstAndReply,
        },
        protocols: Vec::new(),
        ports: args.port.clone(),
        addresses: args.peer.clone(),
    }
}

fn holders(trace: &NamespaceTrace) -> Vec<String> {
    trace.held().iter().map(|it| it.by.to_string()).collect()
}

fn tell_what_is_done(trace: &NamespaceTrace, place: &str) {
    let rules = match holders(trace).join(" and ") {
        none if none.is_empty() => "no rules".to_owned(),
        holders => format!("rules of {holders}"),
    };
    anstream::eprintln!(
        "tracing net:[{}] of {place}, which has {rules}; the table `{}` is added there until this ends",
        trace.namespace().inode(),
        trace.table()
    );
    for complaint in trace.unread() {
        anstream::eprintln!("note: no texts of these rules, which could not be read: {complaint}");
    }
}

/// What the first line says.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Started<'a> {
    pid: u32,
    /// Inode of the namespace.
    namespace: u64,
    /// Who holds rules there.
    rules_of: Vec<String>,
    table: &'a str,
}

/// What the last line says.
#[derive(Serialize)]
struct Ended {
    why: End,
    connections: u64,
    lost: Lost,
}

fn start(trace: &NamespaceTrace) -> String {
    let about = Started {
        pid: trace.namespace().pid(),
        namespace: trace.namespace().inode(),
        rules_of: holders(trace),
        table: trace.table(),
    };
    let lines = TRACE_LINES;
    TraceLine::Start { lines, about }.text()
}

/// What is shown.
struct Shown {
    blocks: Blocks,
    filter: Filter,
    json: bool,
    count: Option<u64>,
}

impl Shown {
    /// Shows connections until it is time to end.
    fn until_end(&mut self, trace: &mut NamespaceTrace, ends: &mut Ends) -> Result<End, Failure> {
        loop {
            let packets = trace.ended()?;
            let now = Instant::now();
            for packet in packets {
                self.blocks.add(packet, now);
            }
            let ready = self
                .blocks
                .ready(now, |it| self.filter.wants(it, trace.texts()));
            if !self.show(trace, ready)? {
                return Ok(End::ReaderGone);
            }
            if self.count.is_some_and(|count| self.blocks.shown() >= count) {
                return Ok(End::Count);
            }
            if let Some(end) = ends.come(trace.namespace().process()) {
                return Ok(end);
            }
            let next = self.blocks.next().into_iter().chain(ends.deadline());
            let next = next.chain(trace.is_waiting().then(|| now + STUCK)).min();
            let left = next.map(|it| it.saturating_duration_since(Instant::now()));
            trace.wait(&ends.to_wait_for(trace.namespace().process()), left)?;
        }
    }

    /// False when nobody reads it.
    fn show(&self, trace: &mut NamespaceTrace, mut blocks: Vec<Block>) -> Result<bool, Failure> {
        blocks.retain(|it| self.count.is_none_or(|count| it.number <= count));
        if blocks.is_empty() {
            return Ok(true);
        }
        let packets = blocks.iter_mut().flat_map(|it| &mut it.packets);
        trace.add_zones(packets.map(|(_, packet)| packet))?;
        let mut text = String::new();
        for block in &blocks {
            let known = Surroundings {
                interfaces: trace.interfaces(),
                texts: trace.texts(),
                entry: block.packets.iter().find_map(|(_, it)| trace.entry(it)),
            };
            text += &match self.json {
                true => block_lines(block, known),
                false => block_text(block, known),
            };
        }
        say_more(&text)
    }
}

fn conclude(
    args: &Args,
    trace: &NamespaceTrace,
    end: End,
    connections: u64,
    lost: Lost,
) -> Outcome {
    let changed = trace.has_legacy_changed()?;
    if changed {
        anstream::eprintln!(
            "note: the rules of legacy iptables changed meanwhile: places, texts and verdicts are those from before"
        );
    }
    if let Some(words) = lost.words() {
        anstream::eprintln!(
            "incomplete: {words}; connections or rules may be missing. Narrow it down with --port or --peer"
        );
        return Ok(ExitCode::from(Class::Incomplete.exit_code()));
    }
    if let (End::Signal(signal), true) = (end, args.count.or(args.time.map(|_| 1)).is_some()) {
        return Ok(ExitCode::from(128 + signal));
    }
    let wanted = args.count.filter(|count| connections < *count);
    if let (Some(count), false) = (wanted, end == End::ReaderGone) {
        anstream::eprintln!("incomplete: {connections} connections seen, of {count}");
        return Ok(ExitCode::from(Class::Incomplete.exit_code()));
    }
    if changed {
        return Ok(ExitCode::from(Class::Incomplete.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}
