//! What a configuration comes to on a machine, family by family, and the rules of it.

use super::{Config, Host, Warning, config::Capture, emission::Emission, nat, raw};
use crate::{
    istio::Emitted,
    mesh::Subnet,
    rules::{Family, Table},
};

/// DNS capture of one family.
pub(super) struct Dns {
    /// Servers whose DNS is captured; all of them if there are none.
    pub servers: Option<Vec<Subnet>>,
    /// The proxy's queries have a conntrack zone of their own.
    pub zones: bool,
    /// The proxy's queries go on to Docker's own rules.
    pub docker: bool,
}

/// The rules of every family that gets some: IPv4 first, and within it tables raw, nat, mangle.
pub fn iptables(config: &Config, host: &Host, warnings: &mut Vec<Warning>) -> Vec<Emitted> {
    surprises(config, warnings);
    if config.drop_invalid && host.without_mangle {
        warnings.push(Warning::InvalidNotDropped);
    }
    let of_family = |family: &Family| rules_of(config, host, *family, warnings);
    config.families().iter().flat_map(of_family).collect()
}

fn rules_of(
    config: &Config,
    host: &Host,
    family: Family,
    warnings: &mut Vec<Warning>,
) -> Vec<Emitted> {
    const INVALID: &str = "-m conntrack --ctstate INVALID -j DROP";
    let dns = dns(config, host, family, warnings);
    let mut out = Emission::new(family);
    if let Some(dns) = dns.as_ref().filter(|dns| dns.zones) {
        raw::zones(config, dns, &mut out);
    }
    nat::rules(config, dns.as_ref(), &mut out);
    if config.drop_invalid && !host.without_mangle {
        out.append(Table::Mangle, "PREROUTING", INVALID);
    }
    out.into_rules()
}

fn dns(config: &Config, host: &Host, family: Family, warnings: &mut Vec<Warning>) -> Option<Dns> {
    if !config.redirect_dns && !config.redirect_all_dns {
        return None;
    }
    let servers = (!config.redirect_all_dns).then(|| {
        let servers = match family {
            Family::V4 => &host.dns_servers.v4,
            Family::V6 => &host.dns_servers.v6,
        };
        // Addresses only, checked when they were read.
        servers
            .iter()
            .filter_map(|server| server.parse().ok())
            .collect::<Vec<_>>()
    });
    if servers.as_ref().is_some_and(Vec::is_empty) {
        warnings.push(Warning::NoDnsServer(family));
        return None;
    }
    let docker = host.docker_output.contains(&family);
    if docker {
        warnings.push(Warning::NeedsDockerOutput(family));
    }
    let refused = config
        .dns_zones
        .then(|| no_zones(config, host, docker))
        .flatten();
    if let Some(why) = refused {
        warnings.push(Warning::NoZones { family, why });
    }
    Some(Dns {
        servers,
        zones: config.dns_zones && refused.is_none(),
        docker,
    })
}

/// Why there can be no zones.
fn no_zones(config: &Config, host: &Host, docker: bool) -> Option<&'static str> {
    let reasons = [
        (host.without_raw, "there is no raw table"),
        (host.without_conntrack, "the match conntrack is missing"),
        (host.without_udp, "the match udp is missing"),
        (
            docker && config.redirect_all_dns,
            "all DNS is captured and nat holds DOCKER_OUTPUT",
        ),
    ];
    let found = reasons.into_iter().find(|(holds, _)| *holds);
    found.map(|(_, why)| why)
}

/// What is without effect, or has an effect nobody asked for.
fn surprises(config: &Config, warnings: &mut Vec<Warning>) {
    let says_more =
        |capture: &Capture| !capture.include_ports.is_empty() || !capture.exclude_ports.is_empty();
    let Config {
        inbound, outbound, ..
    } = config;
    if !inbound.enabled && (says_more(inbound) || !inbound.exclude_ips.is_empty()) {
        warnings.push(Warning::DirectionOff("inbound capture"));
    } else if !inbound.include_ports.is_empty() && !inbound.exclude_ports.is_empty() {
        warnings.push(Warning::InboundExclusionsIgnored);
    }
    if !outbound.enabled && says_more(outbound) {
        warnings.push(Warning::DirectionOff("outbound capture"));
    }
    if config.redirect_dns && config.redirect_all_dns {
        warnings.push(Warning::AllDnsWins);
    }
    let dns = config.redirect_dns || config.redirect_all_dns;
    if dns && outbound.insert {
        warnings.push(Warning::InsertTakesTcpDns);
    }
    if !dns {
        let without =
            |vnet: &super::Vnet| Warning::VnetWithoutDns(vnet.interface.clone(), config.dns_port);
        warnings.extend(config.vnet.iter().map(without));
    }
}
