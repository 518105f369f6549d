//! `hoplab rules apply`: what istio-init does to a pod that may have rules already.

mod plan;
mod text;

use std::process::ExitCode;

use plan::plan;
use text::text;

use super::to_pod;
use crate::{
    cli::{
        Outcome,
        interrupt::Interrupt,
        istio::{IstioFlags, PodArgs},
        source::Source,
        stdout::say,
    },
    failure::{Class, Failure},
    istio::Release,
    live,
    netfilter::BackendChoice,
    sandbox::{
        Supervisor,
        protocol::{Message, Request},
    },
};

#[derive(clap::Args)]
#[command(after_help = "\
One throwaway pod, in a sandbox of its own; nothing of the machine is touched. Without flags the rules are those that \
injection gives a pod. --reconcile, --force-apply and --cleanup-only are Istio's own, and known to it since 1.24. \
Exit code 1: the last apply failed, as istio-init would have, or both backends hold rules in the end.

Examples:
  hoplab rules apply --times 2                    since 1.24 the second one finds everything in place
  hoplab rules apply --istio 1.22 --times 2       before, the second one fails, and changes nothing
  hoplab rules apply --over-istio 1.13            new rules over old ones
  hoplab rules apply --over-istio 1.13 --reconcile
  hoplab rules apply --over partial.rules --reconcile
  hoplab rules apply --over-istio 1.32 --cleanup-only
  hoplab rules apply --rules my.rules --times 2
  hoplab rules apply --native-nftables --over with-dns.nft    a table that is not planned any more stays
  hoplab rules apply --over profile:istio-1.13 --rules profile:kuma
  hoplab rules apply --over-istio 1.13 --reconcile --calls    who takes the calls that come in meanwhile
  hoplab rules apply --rules linkerd --manner one-by-one --times 2 --calls
  hoplab rules apply --detect --times 2           a restart takes the other backend
  hoplab rules apply --to reviews-v1 --rules my.rules     in place of those of a pod of a running lab
  hoplab rules apply --to reviews-v1 --istio 1.24

With --to the rules of that pod are replaced, all at once, and its processes and connections stay. The pod is named by \
a flag, since `rules apply` without one is about a throwaway pod.

SOURCE: a file, `-`, pid:N, git:REV:PATH or profile:NAME, as `hoplab rules show --help` says.")]
pub(super) struct Args {
    /// Release whose rules are applied, and whose ways, 1.12 to 1.32 [default: the newest]
    #[arg(long, value_name = "RELEASE")]
    istio: Option<Release>,
    /// Apply these in place of Istio's rules
    #[arg(long, value_name = "SOURCE", conflicts_with = "istio")]
    rules: Option<Source>,
    /// Replace the rules of this pod of a running lab
    #[arg(long, value_name = "POD", conflicts_with_all = ["over", "over_istio", "times", "backend", "manner", "detect", "calls"])]
    to: Option<String>,
    /// With --to, name of the lab, not needed when only one is up
    #[arg(long, value_name = "NAME", requires = "to", value_parser = crate::cli::live::name)]
    lab: Option<String>,
    /// Rules that the pod has before
    #[arg(long, value_name = "SOURCE")]
    over: Option<Source>,
    /// Rules that the pod has before: those of another release for the same configuration
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["over", "rules"])]
    over_istio: Option<Release>,
    /// How often to apply
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
    /// Which iptables to run: nft, legacy or auto
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// How to apply given rules
    #[arg(
        long,
        value_name = "HOW",
        requires = "rules",
        default_value = "restore"
    )]
    manner: How,
    /// Find out the backend anew each time, as istio-init does
    #[arg(long, conflicts_with = "backend")]
    detect: bool,
    /// Call the pod all the while, over IPv4, and count who takes the calls
    #[arg(long)]
    calls: bool,
    /// IPv6 rules too, as Istio has them in a pod with an IPv6 address
    #[arg(long)]
    ipv6: bool,
    /// DNS servers for redirect-dns [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    dns_servers: Option<Vec<String>>,
    /// Show every change of the pod's rules
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Print everything as one JSON value on standard output
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    pod: PodArgs,
    #[command(flatten)]
    flags: IstioFlags<false>,
}

/// How given rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// One restore
    Restore,
    /// iptables once for each rule, as Linkerd does
    OneByOne,
    /// A restore that takes the old chains away, then one that makes the new, as Kuma does
    CleanFirst,
}

pub(super) fn run(args: &Args) -> Outcome {
    let plan = plan(args)?;
    if let Some(pod) = &args.to {
        let from = match (&args.rules, args.istio.unwrap_or_default()) {
            (Some(source), _) => source.to_string(),
            (None, release) => format!("Istio {release}"),
        };
        let lab = live::find(args.lab.as_deref())?;
        let report = to_pod::replace(&lab, pod, &plan.meant, &plan.names, from)?;
        say(&report.shown(args.json)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut supervisor = Supervisor::start()?;
    let interrupt = Interrupt::watch(&supervisor)?;
    let answer = supervisor
        .send(&Request::Apply(Box::new(plan)))
        .and_then(|()| supervisor.receive());
    if let Some(code) = interrupt.exit_code() {
        return Ok(code);
    }
    let report = match answer? {
        Message::Applied(report) => *report,
        Message::Failed(failure) => return Err(failure),
        other => {
            let what = format!("the supervisor answered something else: {other:?}");
            return Err(Failure::new(Class::State, what));
        }
    };
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|e| Failure::new(Class::State, format!("the result has no JSON form: {e}")))?;
        say(&(text + "\n"))?;
    } else {
        say(&text(&report, args.verbose))?;
    }
    if report.is_mixed() {
        anstream::eprintln!(
            "warning: both backends hold rules of this pod: those of nft decide PREROUTING, both count in OUTPUT, \
             and each tool shows its own only"
        );
    }
    Ok(ExitCode::from(u8::from(
        !report.succeeded() || report.is_mixed(),
    )))
}
