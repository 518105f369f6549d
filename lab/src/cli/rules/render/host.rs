//! What istio-iptables would find out about the machine it runs on.

use std::env;

use super::Args;
use crate::{
    failure::{Class, Failure},
    istio::{
        DnsServers, Environment, FLAGS, Host, Settings, VARIABLES_WITHOUT_FLAG,
        ambient::ProbeSource,
    },
};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The variables that mean something to Istio's rules.
pub(super) fn environment() -> Environment {
    let without_flag = VARIABLES_WITHOUT_FLAG.iter().chain(&ProbeSource::VARIABLES);
    let of_flags = FLAGS.iter().flat_map(|flag| flag.variables());
    of_flags
        .chain(without_flag.map(ToString::to_string))
        .filter_map(|name| env::var(&name).ok().map(|value| (name, value)))
        .collect()
}

/// Looks only at what the settings leave open.
pub(super) fn look(args: &Args, settings: &Settings) -> Result<Host, Failure> {
    let user = || {
        nix::unistd::User::from_name(&settings.envoy_user)
            .ok()
            .flatten()
    };
    let envoy_user = settings.proxy_uid.is_empty().then(user).flatten();
    Ok(Host {
        envoy_user_uid: envoy_user.map(|user| user.uid.as_raw()),
        dns_servers: dns_servers(args, settings)?,
        ipv6: args.ipv6,
    })
}

fn dns_servers(args: &Args, settings: &Settings) -> Result<DnsServers, Failure> {
    if let Some(given) = &args.dns_servers {
        return given_servers(given);
    }
    if !settings.redirect_dns || settings.capture_all_dns {
        return Ok(DnsServers::default());
    }
    servers_of_this_machine(
        "name the servers with --dns-servers, or capture all DNS with --capture-all-dns",
    )
}

/// The servers of resolv.conf.
pub(super) fn servers_of_this_machine(hint: &str) -> Result<DnsServers, Failure> {
    let text = std::fs::read_to_string(RESOLV_CONF).map_err(|e| {
        Failure::new(Class::Input, format!("could not read {RESOLV_CONF}"))
            .cause(e.to_string())
            .hint(hint)
    })?;
    Ok(DnsServers::from_resolv_conf(&text))
}

pub(super) fn given_servers(given: &[String]) -> Result<DnsServers, Failure> {
    let mut servers = DnsServers::default();
    for server in given.iter().filter(|server| !server.is_empty()) {
        if !servers.push(server) {
            let what = format!("--dns-servers: `{server}` is no IP address");
            return Err(Failure::new(Class::Input, what)
                .hint("give addresses between commas, like 10.96.0.10,fd00::a"));
        }
    }
    Ok(servers)
}
