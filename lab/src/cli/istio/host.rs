//! What istio-iptables would find out about the machine it runs on.

use std::env;

use crate::{
    failure::{Class, Failure},
    istio::{
        DnsServers, Environment, FLAGS, Host, Settings, VARIABLES_WITHOUT_FLAG,
        ambient::ProbeSource,
    },
};

const PASSWD: &str = "/etc/passwd";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The variables that mean something to Istio's rules.
pub(in crate::cli) fn environment() -> Environment {
    let without_flag = VARIABLES_WITHOUT_FLAG.iter().chain(&ProbeSource::VARIABLES);
    let of_flags = FLAGS.iter().flat_map(|flag| flag.variables());
    of_flags
        .chain(without_flag.map(ToString::to_string))
        .filter_map(|name| env::var(&name).ok().map(|value| (name, value)))
        .collect()
}

/// Uid of the user the proxy runs as, where the settings leave it open and this machine has the user.
pub(in crate::cli) fn envoy_user_uid(settings: &Settings) -> Option<u32> {
    let user = || uid_of(&settings.envoy_user);
    settings.proxy_uid.is_empty().then(user).flatten()
}

/// Looks only at what the settings leave open.
pub(in crate::cli) fn look(
    settings: &Settings,
    dns_servers: Option<&[String]>,
    ipv6: bool,
) -> Result<Host, Failure> {
    Ok(Host {
        envoy_user_uid: envoy_user_uid(settings),
        dns_servers: servers(dns_servers, settings)?,
        ipv6,
    })
}

/// As Istio's binaries do, which are built without libc's look-up: in the file, not in a directory service.
fn uid_of(name: &str) -> Option<u32> {
    let users = std::fs::read_to_string(PASSWD).ok()?;
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut fields =
        lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

fn servers(given: Option<&[String]>, settings: &Settings) -> Result<DnsServers, Failure> {
    if let Some(given) = given {
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
pub(in crate::cli) fn servers_of_this_machine(hint: &str) -> Result<DnsServers, Failure> {
    let text = std::fs::read_to_string(RESOLV_CONF).map_err(|e| {
        Failure::new(Class::Input, format!("could not read {RESOLV_CONF}"))
            .cause(e.to_string())
            .hint(hint)
    })?;
    Ok(DnsServers::from_resolv_conf(&text))
}

pub(in crate::cli) fn given_servers(given: &[String]) -> Result<DnsServers, Failure> {
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
