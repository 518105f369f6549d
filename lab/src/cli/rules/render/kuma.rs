//! `hoplab rules render kuma`.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{Rendered, host, mesh_flags::MeshFlags, print, texts};
use crate::{
    cli::Outcome,
    failure::Failure,
    istio::DnsServers,
    kuma::{self, Config, Host},
    rules::Family,
};

#[derive(clap::Args)]
#[command(after_help = "\
Rules go to standard output: IPv4, then IPv6. Warnings, and what kumactl does beside, go to standard error.

Examples:
  hoplab rules render kuma --family ipv4 | iptables-restore --noflush
  hoplab rules render kuma --redirect-inbound=false --exclude-outbound-ports 5432,6379
  hoplab rules render kuma --redirect-dns --dns-servers 10.96.0.10 --vnet docker0:172.17.0.0/16")]
pub(super) struct Args {
    /// Print one family only
    #[arg(long, value_parser = crate::cli::family)]
    family: Option<Family>,
    /// DNS servers for redirect-dns [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    dns_servers: Option<Vec<String>>,
    /// The nat table for IPv4 already holds a chain DOCKER_OUTPUT, as in a custom network of Docker
    #[arg(long)]
    docker_output: bool,
    /// What this machine lacks; Kuma then writes less
    #[arg(long, value_name = "PIECES", value_delimiter = ',')]
    without: Vec<Piece>,
    /// Print the ip commands the rules need, not the rules
    #[arg(long)]
    routes: bool,
    #[command(flatten)]
    flags: MeshFlags<Config>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Piece {
    /// The raw table
    Raw,
    /// The mangle table
    Mangle,
    /// The match conntrack
    Conntrack,
    /// The match udp
    Udp,
}

pub(super) fn run(args: &Args) -> Outcome {
    let config = args.flags.configuration()?;
    let lacks = |piece| args.without.contains(&piece);
    let host = Host {
        dns_servers: dns_servers(args, &config)?,
        docker_output: args
            .docker_output
            .then_some(Family::V4)
            .into_iter()
            .collect(),
        without_raw: lacks(Piece::Raw),
        without_mangle: lacks(Piece::Mangle),
        without_conntrack: lacks(Piece::Conntrack),
        without_udp: lacks(Piece::Udp),
    };
    let mut warnings = Vec::new();
    let rules = kuma::iptables(&config, &host, &mut warnings);
    let families = config.families().iter();
    let wanted = families.filter(|family| args.family.is_none_or(|only| only == **family));
    let rendered = Rendered {
        text: wanted
            .map(|family| kuma::restore(&rules, *family))
            .collect(),
        steps: texts(&kuma::loopback_addresses(&config)),
    };
    print::print(&rendered, &warnings, args.routes, "Kuma")?;
    if !args.routes {
        let command = |legacy| kuma::restore_command(&config, Family::V4, legacy);
        anstream::eprintln!(
            "# It loads them with one of these, {}:\n#   {}\n#   {}",
            kuma::tries(&config),
            command(false),
            command(true)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn dns_servers(args: &Args, config: &Config) -> Result<DnsServers, Failure> {
    match &args.dns_servers {
        Some(given) => host::given_servers(given),
        None if config.redirect_dns && !config.redirect_all_dns => host::servers_of_this_machine(
            "name the servers with --dns-servers, or capture all DNS with --redirect-all-dns-traffic",
        ),
        None => Ok(DnsServers::default()),
    }
}
