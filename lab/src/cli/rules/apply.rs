//! `hoplab rules apply`: what istio-init does to a pod that may have rules already.

use std::{fmt::Write as _, process::ExitCode};

use super::to_pod;
use crate::{
    apply::{ApplyPlan, CallPlan, Calls, Manner, Report, Round},
    behaviour::Stage,
    cli::{
        Outcome,
        interrupt::Interrupt,
        istio::{IstioFlags, PodArgs, host, injected},
        source::{self, Given, Source},
        stdout::say,
    },
    failure::{Class, Failure},
    interception::Interception,
    istio::{self, Config, Release, Settings, Warning, nft},
    lab_file::FIRST_NAMED_ID,
    live,
    netfilter::BackendChoice,
    profiles::Rules,
    rules::{Family, OwnerNames, RuleSet, Written},
    sandbox::{
        Supervisor,
        protocol::{Message, Request},
    },
};

#[derive(clap::Args)]
#[command(after_help = "\
One throwaway pod, in a sandbox of its own; nothing of the machine is touched. Without flags the rules are those that
injection gives a pod. --reconcile, --force-apply and --cleanup-only are Istio's own, and known to it since 1.24.
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

With --to the rules of that pod are replaced, all at once, and its processes and connections stay. The pod is named by
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
    #[arg(long, value_name = "POD", conflicts_with_all = ["over", "over_istio", "times", "backend"])]
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

/// Port that is called, unless rules turn calls to it.
const CALLED: [u16; 2] = [9080, 9081];

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

fn plan(args: &Args) -> Result<ApplyPlan, Failure> {
    let before = match &args.over {
        Some(source) => texts(source)?,
        None => Written::default(),
    };
    let (before, meant, manner) = match &args.rules {
        Some(source) => {
            no_flags(args)?;
            let meant = texts(source)?;
            let manner = match (meant.is_nft(), args.manner) {
                (true, How::Restore) => Manner::Native {
                    cleanup_only: false,
                },
                (true, _) => {
                    let what = "rules of nft's own are applied in one transaction";
                    return Err(Failure::new(Class::Input, what).hint("leave --manner out"));
                }
                (false, How::Restore) => Manner::Restore,
                (false, How::OneByOne) => Manner::OneByOne,
                (false, How::CleanFirst) => Manner::CleanFirst,
            };
            (before, meant, manner)
        }
        None => {
            let (settings, config) = configuration(args)?;
            let release = args.istio.unwrap_or_default();
            let written = |release| rendered(&settings, &config, release);
            let over = args.over_istio.map(written).transpose()?;
            let manner = manner(&settings, release)?;
            (over.unwrap_or(before), written(release)?, manner)
        }
    };
    one_language(&before, &meant, args.backend)?;
    let mut sets: Vec<RuleSet> = Vec::new();
    for family in [Family::V4, Family::V6] {
        for texts in [&before, &meant] {
            let set = texts.rules(family, "the rules");
            sets.extend(set.map_err(|e| Failure::new(Class::Input, e.to_string()))?);
        }
    }
    if args.detect && meant.is_nft() {
        let what = "istio-init looks for no backend when the rules are nft's own";
        return Err(Failure::new(Class::Input, what).hint("leave --detect out"));
    }
    let proxy = Interception::of_rules(&sets).inbound;
    let app = CALLED.into_iter().find(|port| *port != proxy);
    let calls = app.filter(|_| args.calls).map(|app| CallPlan {
        stage: Stage::away_from(&sets),
        app,
        proxy,
    });
    Ok(ApplyPlan {
        detect: args.detect,
        calls,
        backend: args.backend,
        names: OwnerNames::of(&sets, FIRST_NAMED_ID),
        before,
        meant,
        times: args.times,
        manner,
    })
}

/// A pod here has rules of iptables or of nft, and nft needs no backend.
fn one_language(before: &Written, meant: &Written, backend: BackendChoice) -> Result<(), Failure> {
    if !before.is_empty() && before.is_nft() != meant.is_nft() {
        let what = "rules of iptables do not go with rules of nft's own";
        return Err(Failure::new(Class::Input, what)
            .cause("the pod has one or the other here, since each sees only its own")
            .hint("give both in one language; `hoplab rules render` writes either"));
    }
    match backend {
        BackendChoice::Fixed(asked) if meant.is_nft() => {
            let what =
                format!("the backend {asked} of iptables does not go with rules of nft's own");
            Err(Failure::new(Class::Input, what).hint("leave --backend out"))
        }
        _ => Ok(()),
    }
}

fn no_flags(args: &Args) -> Result<(), Failure> {
    let flag = args
        .flags
        .pairs()
        .next()
        .map(|(flag, _)| format!("--{}", flag.name));
    let pod = args
        .pod
        .are_given()
        .then(|| "a pod or its annotations".to_owned());
    match flag.or(pod) {
        None => Ok(()),
        Some(what) => Err(
            Failure::new(Class::Input, format!("--rules does not go with {what}"))
                .cause("given rules are applied as they are")
                .hint("leave one of them out"),
        ),
    }
}

fn configuration(args: &Args) -> Result<(Settings, Config), Failure> {
    let mut warnings = Vec::new();
    let settings = injected(&args.pod, &args.flags, &mut warnings)?;
    let settings = settings.ok_or_else(|| {
        let why = warnings.pop().map(|it| it.to_string());
        Failure::new(Class::Input, "there are no rules to apply").cause(why.unwrap_or_default())
    })?;
    let host = host::look(&settings, args.dns_servers.as_deref(), args.ipv6)?;
    let config = Config::new(&settings, &host, &mut warnings)?;
    // That --cleanup-only installs nothing is what is shown here.
    let shown = warnings
        .iter()
        .filter(|it| !matches!(it, Warning::NotInstalled(_)));
    for warning in shown {
        anstream::eprintln!("warning: {warning}");
    }
    Ok((settings, config))
}

fn manner(settings: &Settings, release: Release) -> Result<Manner, Failure> {
    let asked = [
        (settings.reconcile, "--reconcile"),
        (settings.force_apply, "--force-apply"),
        (settings.cleanup_only, "--cleanup-only"),
    ];
    if settings.native_nftables {
        // The last one is known to take all tables away.
        return match asked[..2].iter().find(|(given, _)| *given) {
            None => Ok(Manner::Native {
                cleanup_only: settings.cleanup_only,
            }),
            Some((_, flag)) => Err(Failure::new(
                Class::Input,
                format!("what Istio does with {flag} and native nft rules is not known here"),
            )
            .hint("leave one of them out")),
        };
    }
    if release.looks_before_it_applies() {
        return Ok(Manner::Checked {
            reconcile: settings.reconcile,
            force: settings.force_apply,
            cleanup_only: settings.cleanup_only,
        });
    }
    match asked.iter().find(|(given, _)| *given) {
        None => Ok(Manner::Restore),
        Some((_, flag)) => Err(Failure::new(
            Class::Input,
            format!("Istio {release} has no {flag}"),
        )
        .hint("ask for 1.24 or newer")),
    }
}

fn rendered(settings: &Settings, config: &Config, release: Release) -> Result<Written, Failure> {
    if settings.native_nftables {
        if !release.has_sidecar_nftables() {
            let what = format!("Istio {release} writes no nft rules");
            return Err(Failure::new(Class::Input, what).hint("ask for 1.27 or newer"));
        }
        let (layout, rules) = nft::sidecar(config);
        return Ok(Written::Nft {
            nft: nft::transaction(layout, &rules),
        });
    }
    let rules = istio::iptables(config, release);
    let families = [Family::V4, Family::V6].into_iter();
    let texts = families.map(|family| (family, istio::restore(&rules, family)));
    let texts = texts.filter(|(_, text)| !text.is_empty());
    Ok(Written::Iptables(texts.collect()))
}

fn texts(source: &Source) -> Result<Written, Failure> {
    let profile = match source::given(source, Family::V4)? {
        Given::Rules(rules) => return Ok(rules.into_texts()),
        Given::Profile(profile) => profile,
    };
    Ok(match profile.rules {
        Rules::Nft(nft) => Written::Nft { nft },
        Rules::Iptables { v4, v6 } => {
            let v6 = v6.map(|text| (Family::V6, text));
            Written::Iptables([(Family::V4, v4)].into_iter().chain(v6).collect())
        }
    })
}

fn text(report: &Report, verbose: bool) -> String {
    let mut out = format!(
        "backend {} ({})\n",
        report.backend.backend.as_backend(),
        report.backend.why
    );
    for round in &report.rounds {
        let _ = writeln!(out, "\n{}", round.what);
        if let Some(chosen) = &round.detected {
            let _ = writeln!(out, "  detected: {}, since {}", chosen.backend, chosen.why);
        }
        found(&mut out, round);
        for step in &round.steps {
            let _ = writeln!(
                out,
                "  {}\n      {}, {}",
                step.command,
                step.status,
                changed(step)
            );
            for line in step.stderr.lines() {
                let _ = writeln!(out, "      {line}");
            }
            for change in step.changes.iter().filter(|_| verbose) {
                let _ = writeln!(out, "        {change}");
            }
        }
        if round.steps.is_empty() {
            out.push_str("  no command that changes anything\n");
        }
        let _ = writeln!(out, "  {} rules in the pod", round.rules);
        if let Some(calls) = &round.calls {
            let _ = writeln!(out, "  calls meanwhile: {}", called(calls));
        }
    }
    for held in &report.held {
        let _ = writeln!(
            out,
            "\n{} holds {} rules; its nat PREROUTING counted {} connections",
            held.backend, held.rules, held.came_in
        );
    }
    out
}

fn called(calls: &Calls) -> String {
    format!(
        "{} taken by the proxy, {} by the app itself, {} refused, {} lost",
        calls.proxied, calls.direct, calls.refused, calls.lost
    )
}

fn found(out: &mut String, round: &Round) {
    let Some(state) = &round.found else { return };
    let there = match state.residue {
        true => "chains of Istio's are there",
        false => "no chain of Istio's is there",
    };
    let _ = match state.delta.first() {
        None => writeln!(out, "  found: {there}, nothing is missing"),
        Some(first) => writeln!(out, "  found: {there}; {first}"),
    };
}

fn changed(step: &crate::apply::Step) -> String {
    let count = |sign: &str| {
        let with = |it: &&String| it.contains(&format!(": {sign} "));
        step.changes.iter().filter(with).count()
    };
    match (count("+"), count("-")) {
        (0, 0) => "nothing changed".into(),
        (added, removed) => format!("rules and chains: {added} added, {removed} removed"),
    }
}
