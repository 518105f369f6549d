//! A profile with options: the flags of its mesh's own installer, as words of a command line.

use super::{Profile, istio, peers};
use crate::{
    istio::{BadValue, DnsServers, Flag as IstioFlag, Kind},
    kuma, linkerd,
    mesh::{Configuration, Takes},
};

/// The profile of this name, with options of the mesh's own installer: `--exclude-inbound-ports 9000`,
/// `--redirect-dns`, `-b 80,81`. `servers` are the DNS servers that a pod's resolv.conf names.
///
/// # Errors
/// There is no such profile, its mesh has no such flag, or the flag does not take that value.
pub fn with_options(
    name: &str,
    options: &[String],
    servers: &DnsServers,
) -> Result<Profile, String> {
    let profile = super::find(name).ok_or_else(|| format!("there is no profile `{name}`"))?;
    if options.is_empty() {
        return Ok(profile);
    }
    match profile.name.as_str() {
        "kuma" => {
            let config = configuration::<kuma::Config>(options)?;
            Ok(peers::kuma_of(&config, servers))
        }
        "linkerd" => {
            let config = configuration::<linkerd::Config>(options)?;
            Ok(peers::linkerd_of(&config))
        }
        name if name.starts_with("istio-") => {
            istio::with_flags(name, istio_flags(options)?, servers)
        }
        name => Err(format!("profile `{name}` takes no options")),
    }
}

/// Flags with their values: `--name value`, `--name=value`, and switches alone. A flag gets all its values at once, as the
/// command line gives them.
fn configuration<C: Configuration>(options: &[String]) -> Result<C, String> {
    let mut config = C::default();
    let mut given: Vec<(&crate::mesh::Flag<C>, Vec<&str>)> = Vec::new();
    let mut words = options.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let is = |flag: &&crate::mesh::Flag<C>| {
            name.strip_prefix("--") == Some(flag.name)
                || flag
                    .short
                    .is_some_and(|it| name.strip_prefix('-') == Some(&it.to_string()))
        };
        let flag = C::FLAGS.iter().find(is);
        let flag = flag.ok_or_else(|| format!("{} has no flag `{name}`", C::HEADING))?;
        let value = match (flag.takes, value) {
            (Takes::Switch, None) => "true",
            (_, Some(value)) => value,
            (_, None) => words
                .next()
                .ok_or_else(|| format!("`{name}` needs a value"))?,
        };
        match given.iter_mut().find(|(known, _)| known.name == flag.name) {
            Some((_, values)) => values.push(value),
            None => given.push((flag, vec![value])),
        }
    }
    for (flag, values) in given {
        flag.apply(&mut config, &values)
            .map_err(|bad: BadValue| bad.to_string())?;
    }
    Ok(config)
}

/// The flags of istio-iptables.
fn istio_flags(options: &[String]) -> Result<Vec<(&'static IstioFlag, &str)>, String> {
    let mut flags = Vec::new();
    let mut words = options.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let is = |flag: &&IstioFlag| {
            name.strip_prefix("--") == Some(flag.name)
                || flag
                    .short
                    .is_some_and(|it| name.strip_prefix('-') == Some(&it.to_string()))
        };
        let flag = crate::istio::FLAGS.iter().find(is);
        let flag = flag.ok_or_else(|| format!("istio-iptables has no flag `{name}`"))?;
        let value = match (flag.kind(), value) {
            (Kind::Switch, None) => "true",
            (_, Some(value)) => value,
            (_, None) => words
                .next()
                .ok_or_else(|| format!("`{name}` needs a value"))?,
        };
        flags.push((flag, value));
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Family;

    #[test]
    fn a_flag_that_is_given_twice_keeps_both_values() {
        let options = ["--vnet", "vnet0:10.77.2.0/24", "--vnet=vnet0:fd77:2::/32"];
        let options = options.map(str::to_owned);
        let profile = with_options("kuma", &options, &DnsServers::default());
        let rules = profile.expect("kuma has the flag").rules;
        for (family, network) in [(Family::V4, "10.77.2.0/24"), (Family::V6, "fd77:2::/32")] {
            let text = rules.iptables(family).expect("it has both families");
            assert!(text.contains(&format!("! -d {network} -i vnet0")), "{text}");
        }
    }
}
