//! `hoplab trace`: connections in the network namespace of a process, rule by rule, while they happen.

mod ends;
mod filter;

use std::{
    net::IpAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Outcome, stdout::say_more};
use crate::{
    failure::{Class, Failure},
    net::ProcessNamespace,
    report::{Lines, Surroundings, block_text},
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
Each packet is shown with the hooks it passed, every rule that matched, its text, and what changed. By default of each
connection the first packet and the answer; of UDP all. A connection is shown when its answer has passed, or after 200 ms.

To see this the kernel needs a table of observers in that namespace: a filter table that accepts everything, named on
standard error. It goes when this ends, in whatever way. With legacy iptables net.netfilter.nf_log is set too, and set
back; after SIGKILL it stays, without effect.

--json prints one value a line: {\"event\":\"start\"}, \"packet\", \"conntrack\", \"end\".

Exit codes: 0 after Ctrl-C, --for, or --count; 5 if the kernel lost reports, or if there were fewer connections than --count;
130 and 143 if SIGINT or SIGTERM came before --count or --for was reached.

Examples:
  hoplab trace --pid $(docker inspect -f '{{.State.Pid}}' reviews)
  hoplab trace --pid 4711 --port 9080 --count 1 --for 10s
  hoplab trace --pid 4711 --rule ISTIO_OUTPUT:4
  hoplab trace --pid 4711 --rule '--to-ports 15001' --uid 1000
  hoplab trace --pid 4711 --json | jq -c 'select(.event==\"packet\") | .packet.stations[].steps[]?'")]
pub(super) struct Args {
    /// Trace the network namespace of this process
    #[arg(long, value_name = "PID")]
    pid: u32,
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
    let namespace = ProcessNamespace::open(args.pid)?;
    if namespace.is_machines_own() && !args.host {
        let what = format!(
            "process {} is in the machine's own network namespace",
            args.pid
        );
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
    tell_what_is_done(&trace);
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
        let about = json!({ "why": end, "connections": connections, "lost": lost });
        say_more(&Lines::end(&about))?;
    }
    conclude(args, &trace, end, connections, lost)
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

fn tell_what_is_done(trace: &NamespaceTrace) {
    let rules = match holders(trace).join(" and ") {
        none if none.is_empty() => "no rules".to_owned(),
        holders => format!("rules of {holders}"),
    };
    anstream::eprintln!(
        "tracing net:[{}] of process {}, which has {rules}; the table `{}` is added there until this ends",
        trace.namespace().inode(),
        trace.namespace().pid(),
        trace.table()
    );
    for complaint in trace.unread() {
        anstream::eprintln!("note: no texts of these rules, which could not be read: {complaint}");
    }
}

fn start(trace: &NamespaceTrace) -> String {
    Lines::start(&json!({
        "pid": trace.namespace().pid(),
        "namespace": trace.namespace().inode(),
        "rules-of": holders(trace),
        "table": trace.table(),
    }))
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
    fn show(&self, trace: &mut NamespaceTrace, blocks: Vec<Block>) -> Result<bool, Failure> {
        for mut block in blocks {
            if self.count.is_some_and(|count| block.number > count) {
                continue;
            }
            for (_, packet) in &mut block.packets {
                trace.add_zones(std::slice::from_mut(packet))?;
            }
            let entry = block.packets.iter().find_map(|(_, it)| trace.entry(it));
            let known = Surroundings {
                interfaces: trace.interfaces(),
                texts: trace.texts(),
                entry,
            };
            let text = match self.json {
                true => Lines::block(&block, known),
                false => block_text(&block, known),
            };
            if !say_more(&text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn conclude(
    args: &Args,
    trace: &NamespaceTrace,
    end: End,
    connections: u64,
    lost: Lost,
) -> Outcome {
    if end == End::Process {
        anstream::eprintln!("process {} has ended", args.pid);
    }
    let changed = trace.has_legacy_changed()?;
    if changed {
        anstream::eprintln!(
            "note: the rules of legacy iptables changed meanwhile: places, texts and verdicts are those from before"
        );
    }
    if !lost.is_nothing() {
        anstream::eprintln!("incomplete: {}", lost_words(lost));
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

fn lost_words(lost: Lost) -> String {
    let Lost {
        overruns,
        messages,
        log_gaps,
        fragments,
        unreadable,
    } = lost;
    let parts = [
        (overruns, "times the kernel had no room for reports"),
        (messages, "reports lost"),
        (log_gaps, "numbers missing in the log groups"),
        (fragments, "reports that belong to no packet"),
        (unreadable, "reports that could not be read"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    format!(
        "{}; connections or rules may be missing. Narrow it down with --port or --peer",
        words.join(", ")
    )
}
