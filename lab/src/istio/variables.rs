//! What istio-init prints as its variables.

use super::{Config, DnsCapture, Release, Settings};

/// The variables in the order istio-init prints them, with Istio's spelling of values: lists as they were given, Go's
/// brackets around DNS servers. The names are those of Istio 1.13, and the owner groups where the release has them;
/// later releases may print more.
pub fn variables(
    settings: &Settings,
    config: &Config,
    release: Release,
) -> Vec<(&'static str, String)> {
    let s = settings;
    let owners = |owners: &[super::Owner]| {
        let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
        owners.join(",")
    };
    let groups = [
        ("OUTBOUND_OWNER_GROUPS_INCLUDE", &s.owner_groups_include),
        ("OUTBOUND_OWNER_GROUPS_EXCLUDE", &s.owner_groups_exclude),
    ];
    let groups = groups.into_iter().filter(|_| release.has_owner_groups());
    let (v4, v6) = match &config.dns {
        Some(DnsCapture::Servers(servers)) => (servers.v4.join(" "), servers.v6.join(" ")),
        Some(DnsCapture::All) | None => Default::default(),
    };
    let before = [
        ("PROXY_PORT", s.proxy_port.clone()),
        ("PROXY_INBOUND_CAPTURE_PORT", s.inbound_capture_port.clone()),
        ("PROXY_TUNNEL_PORT", s.inbound_tunnel_port.clone()),
        ("PROXY_UID", owners(&config.proxy_uid)),
        ("PROXY_GID", owners(&config.proxy_gid)),
        (
            "INBOUND_INTERCEPTION_MODE",
            s.inbound_interception_mode.clone(),
        ),
        ("INBOUND_TPROXY_MARK", s.inbound_tproxy_mark.clone()),
        (
            "INBOUND_TPROXY_ROUTE_TABLE",
            s.inbound_tproxy_route_table.clone(),
        ),
        ("INBOUND_PORTS_INCLUDE", s.inbound_ports_include.clone()),
        ("INBOUND_PORTS_EXCLUDE", s.inbound_ports_exclude.clone()),
    ];
    let after = [
        (
            "OUTBOUND_IP_RANGES_INCLUDE",
            s.outbound_ip_ranges_include.clone(),
        ),
        (
            "OUTBOUND_IP_RANGES_EXCLUDE",
            s.outbound_ip_ranges_exclude.clone(),
        ),
        ("OUTBOUND_PORTS_INCLUDE", s.outbound_ports_include.clone()),
        ("OUTBOUND_PORTS_EXCLUDE", s.outbound_ports_exclude.clone()),
        ("KUBE_VIRT_INTERFACES", s.reroute_virtual_interfaces.clone()),
        ("ENABLE_INBOUND_IPV6", config.enable_ipv6.to_string()),
        ("DNS_CAPTURE", s.redirect_dns.to_string()),
        ("DROP_INVALID", s.drop_invalid.to_string()),
        ("CAPTURE_ALL_DNS", s.capture_all_dns.to_string()),
        ("DNS_SERVERS", format!("[{v4}],[{v6}]")),
        ("OUTPUT_PATH", String::new()),
        ("NETWORK_NAMESPACE", s.network_namespace.clone()),
        ("CNI_MODE", s.cni_mode.to_string()),
        ("EXCLUDE_INTERFACES", s.exclude_interfaces.clone()),
    ];
    let groups = groups.map(|(name, value)| (name, value.clone()));
    before.into_iter().chain(groups).chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{builtin, istio::Host};

    #[test]
    fn the_defaults_of_injection_are_printed_as_the_log_of_1_13_has_them() {
        let settings = Settings {
            inbound_ports_include: "*".into(),
            inbound_ports_exclude: "15090,15021,15020".into(),
            inbound_interception_mode: "REDIRECT".into(),
            outbound_ip_ranges_include: "*".into(),
            ..Settings::default()
        };
        let config = Config::new(&settings, &Host::default(), &mut Vec::new()).expect("valid");
        let release = "1.13".parse().expect("a release");
        let printed = variables(&settings, &config, release);
        let printed: Vec<(&str, &str)> = printed.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(Some(&*printed), builtin::variables("istio-1.13"));
    }
}
