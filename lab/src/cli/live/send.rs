//! `hoplab send`: one connection in a running lab, sent as the lab's own driver sends it, and the way it took.

use std::time::Duration;

use hoplab_proxies::record::Transport;

use super::{Outcome, pod::LabName};
use crate::{
    cli::{
        explain::{Wanted, exit_code, in_lab},
        stdout::say,
        trace::ends,
    },
    failure::{Class, Failure},
    report::{Detail, path_text},
    rules::Family,
    topology::Sender,
};

#[derive(clap::Args)]
#[command(after_help = "\
The answer, then hop by hop the rules that matched and who saw it; `hoplab explain` shows those that did not match too, \
and brings up a lab where none is. The rules are those the pods have now.

Examples:
  hoplab send 'productpage-v1 -> reviews:9080'
  hoplab send client reviews-v1:9080 --path /health
  hoplab send details-v1/proxy -> 10.77.0.13:9080    the shell takes > for a file: quote it, or leave the arrow out
  hoplab send details-v1 dns:ratings --tcp
  hoplab send ingress-reviews-v2                     a flow of the lab file

Exit codes: 0 the path is whole, 1 witnesses contradict each other, 2 a name or flag is wrong, 4 no such lab is up, \
5 observations were lost.")]
pub(in crate::cli) struct Args {
    /// FROM and TO with or without an arrow, or the name of a flow. FROM: a pod, pod/app, pod/proxy, pod/UID:GID, node.
    /// TO: pod:port, service:port, localhost:port, ADDRESS:port, dns:NAME
    #[arg(required = true, value_name = "FLOW", num_args = 1..=3)]
    flow: Vec<String>,
    #[command(flatten)]
    lab: LabName,
    /// Who sends: app, proxy, or UID:GID [default: what FROM says, else its app]
    #[arg(long = "as", value_name = "WHO")]
    sender: Option<Sender>,
    /// Path that is asked for
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// Look dns:NAME up over UDP, as is usual
    #[arg(long)]
    udp: bool,
    /// Look dns:NAME up over TCP
    #[arg(long, conflicts_with = "udp")]
    tcp: bool,
    /// Family it goes over [default: the lab's first]
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
    /// How long it may take, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = ends::duration)]
    deadline: Duration,
    /// Every hook, interface and process
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Print the path as one JSON value
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let wanted = Wanted::of(&args.flow)?;
    let running = args.lab.find()?;
    let sending = in_lab::Sending {
        sender: args.sender,
        path: &args.path,
        udp: args.udp,
        over: match args.tcp {
            true => Transport::Tcp,
            false => Transport::Udp,
        },
        deadline_ms: u64::try_from(args.deadline.as_millis()).unwrap_or(u64::MAX),
        family: args.family,
    };
    let path = in_lab::in_running(&running, &sending, &wanted)?;
    let text = match (args.json, args.verbose) {
        (true, _) => serde_json::to_string_pretty(&path)
            .map(|text| text + "\n")
            .map_err(|e| Failure::new(Class::State, format!("the path has no JSON form: {e}")))?,
        (_, true) => path_text(&path, Detail::Verbose),
        _ => path_text(&path, Detail::Quiet),
    };
    say(&text)?;
    Ok(exit_code(&path))
}
