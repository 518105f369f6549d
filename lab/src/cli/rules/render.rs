//! `hoplab rules render`: the rules a mesh writes. Istio's, for flags and variables of `istio-iptables` or for a pod;
//! those of other meshes in a subcommand each, with the flags of their installers.

mod kuma;
mod linkerd;
mod mesh_flags;
mod print;

use std::process::ExitCode;

use clap::ValueEnum;

use crate::{
    cli::{
        self, Outcome,
        istio::{IstioFlags, PodArgs, host, injected},
    },
    failure::{Class, Failure},
    istio::{self, Config, Release, Settings, Warning, ambient, nft, routes},
    rules::Family,
};

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
The variables of istio-iptables count too (ISTIO_INBOUND_PORTS, ISTIO_OUTBOUND_OWNER_GROUPS, ...); a flag beats them. \
Rules go to standard output: IPv4, then IPv6. Warnings, and the ip commands the rules need, go to standard error.

Examples:
  hoplab rules render -b '*' -i '*' -d 15090,15021,15020
  hoplab rules render --pod pod.yaml --istio 1.24 --family ipv4 | iptables-restore --noflush
  hoplab rules render --annotation traffic.sidecar.istio.io/excludeOutboundPorts=5432
  hoplab rules render -m TPROXY -b '*' --native-nftables
  hoplab rules render --ambient --redirect-dns --ipv6
  hoplab rules render kuma --redirect-all-dns-traffic --exclude-outbound-ports 5432
  hoplab rules render linkerd --proxy-uid 2102 --commands"
)]
pub(super) struct Args {
    #[command(subcommand)]
    mesh: Option<Mesh>,
    /// Release whose rules to write, 1.12 to 1.32
    #[arg(long, value_name = "RELEASE", default_value_t)]
    istio: Release,
    /// Give IPv6 rules too, as Istio does in a pod with an IPv6 address
    #[arg(long)]
    ipv6: bool,
    /// Print one family only
    #[arg(long, value_parser = cli::family)]
    family: Option<Family>,
    /// DNS servers for redirect-dns [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    dns_servers: Option<Vec<String>>,
    #[command(flatten)]
    pod: PodArgs,
    /// Write the rules of ambient mode: those in a pod, or the host's
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "pod")]
    ambient: Option<Place>,
    /// User kubelet runs as, for the host's nft rules
    #[arg(long, value_name = "UID", default_value_t = 0)]
    kubelet_uid: u32,
    /// Print the ip commands the rules need, not the rules
    #[arg(long)]
    routes: bool,
    #[command(flatten)]
    flags: IstioFlags<true>,
    /// Part of every init container's arguments, without effect here
    #[arg(long = "log_output_level", hide = true)]
    _log_output_level: Option<String>,
}

/// A mesh other than Istio.
#[derive(clap::Subcommand)]
enum Mesh {
    /// The rules of Kuma, for flags of kumactl install transparent-proxy
    Kuma(Box<kuma::Args>),
    /// The rules of Linkerd, for flags of linkerd-proxy-init
    Linkerd(Box<linkerd::Args>),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// In the pod
    Pod,
    /// On the host
    Host,
}

/// What is printed: rules as text, and what they need beside.
struct Rendered {
    text: String,
    steps: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.mesh {
        Some(Mesh::Kuma(args)) => return kuma::run(args),
        Some(Mesh::Linkerd(args)) => return linkerd::run(args),
        None => {}
    }
    let mut warnings = Vec::new();
    let rendered = match args.ambient {
        None => sidecar(args, &mut warnings),
        Some(place) => ambient(args, place, &mut warnings),
    }?;
    print::print(&rendered, &warnings, args.routes, "Istio")?;
    Ok(ExitCode::SUCCESS)
}

fn sidecar(args: &Args, warnings: &mut Vec<Warning>) -> Result<Rendered, Failure> {
    let Some(settings) = settings(args, warnings)? else {
        return Ok(Rendered {
            text: String::new(),
            steps: Vec::new(),
        });
    };
    let host = host::look(&settings, args.dns_servers.as_deref(), args.ipv6)?;
    let config = Config::new(&settings, &host, warnings)?;
    warnings.extend(config.unknown_to(args.istio));
    let text = if settings.native_nftables {
        one_transaction(args, args.istio.has_sidecar_nftables(), "1.27")?;
        let (layout, rules) = nft::sidecar(&config);
        nft::transaction(layout, &rules)
    } else {
        restore_texts(args, &istio::iptables(&config, args.istio))
    };
    Ok(Rendered {
        text,
        steps: texts(&routes::sidecar(&config)),
    })
}

/// From a pod when one is given, from flags and variables otherwise; nothing if the pod is left alone.
fn settings(args: &Args, warnings: &mut Vec<Warning>) -> Result<Option<Settings>, Failure> {
    if args.pod.are_given() {
        return injected(&args.pod, &args.flags, warnings);
    }
    let settings = Settings::resolve(&host::environment(), args.flags.pairs(), warnings)?;
    Ok(Some(settings))
}

fn ambient(args: &Args, place: Place, warnings: &mut Vec<Warning>) -> Result<Rendered, Failure> {
    let ipv6 = |_: &Settings| Ok(args.ipv6);
    let (config, settings) =
        cli::istio::ambient(args.istio, &args.pod, &args.flags, ipv6, warnings)?;
    let steps = match place {
        Place::Pod => texts(&routes::ambient(&config)),
        Place::Host => Vec::new(),
    };
    let text = if settings.native_nftables {
        one_transaction(args, args.istio.has_ambient_nftables(), "1.28")?;
        let (layout, rules) = match place {
            Place::Pod => nft::ambient_pod(&config),
            Place::Host => nft::ambient_host(&config, args.kubelet_uid),
        };
        nft::transaction(layout, &rules)
    } else {
        let rules = match place {
            Place::Pod => ambient::pod(&config),
            Place::Host => ambient::host(&config, args.istio),
        };
        restore_texts(args, &rules)
    };
    Ok(Rendered { text, steps })
}

fn texts(steps: &[routes::Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn restore_texts(args: &Args, rules: &[istio::Emitted]) -> String {
    let families = [Family::V4, Family::V6].into_iter();
    let wanted = families.filter(|family| args.family.is_none_or(|only| only == *family));
    wanted.map(|family| istio::restore(rules, family)).collect()
}

fn one_transaction(args: &Args, known: bool, since: &str) -> Result<(), Failure> {
    if !known {
        let what = format!("Istio {} writes no nft rules here", args.istio);
        return Err(Failure::new(Class::Input, what).hint(format!("ask for {since} or newer")));
    }
    if args.family.is_some() {
        let what = "--family does not go with --native-nftables";
        return Err(Failure::new(Class::Input, what)
            .cause("one transaction holds the rules of both families")
            .hint("leave --family out; --ipv6 says whether there are IPv6 rules"));
    }
    Ok(())
}
