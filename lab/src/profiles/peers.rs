//! Profiles of Kuma and Linkerd.

use super::{InboundSource, Marks, Mesh, Ports, Profile, Proxy, Rules};
use crate::{interception::INBOUND_SOURCE, istio::DnsServers, kuma, linkerd, rules::Family};

pub(super) fn kuma() -> Profile {
    kuma_of(&kuma::Config::default(), &DnsServers::default())
}

/// Kuma under a configuration, in a pod whose resolv.conf names these servers.
pub(super) fn kuma_of(config: &kuma::Config, servers: &DnsServers) -> Profile {
    let host = kuma::Host {
        dns_servers: servers.clone(),
        ..kuma::Host::default()
    };
    let rules = kuma::iptables(config, &host, &mut Vec::new());
    let has = |family| config.families().contains(&family);
    Profile {
        name: "kuma".to_owned(),
        aliases: Vec::new(),
        about: "Kuma: TCP only, its proxy known by the user alone, DNS not captured".to_owned(),
        mesh: Mesh::Kuma,
        ports: Ports {
            inbound: Some(config.inbound.port),
            outbound: config.outbound.port,
            dns: (config.redirect_dns || config.redirect_all_dns).then_some(config.dns_port),
        },
        proxy: Proxy {
            uid: Some(config.uid),
            gid: None,
            marks: Marks::default(),
            inbound_source: InboundSource::Address(INBOUND_SOURCE),
            tproxy: None,
        },
        rules: Rules::Iptables {
            v4: kuma::restore(&rules, Family::V4),
            v6: has(Family::V6).then(|| kuma::restore(&rules, Family::V6)),
        },
        steps: kuma::loopback_addresses(config),
    }
}

pub(super) fn linkerd() -> [Profile; 2] {
    [
        linkerd_profile(
            "linkerd",
            &["linkerd-0"],
            "Linkerd as its chart installs it (L0): what the pod sends to itself is left alone",
            &linkerd::Config::default(),
        ),
        linkerd_profile(
            "linkerd-1",
            &[],
            "Linkerd before proxy-init #45 (L1): the proxy's calls to its own pod go to its inbound port, IPv4",
            &linkerd::Config {
                self_redirect: true,
                ipv6: false,
                ..linkerd::Config::default()
            },
        ),
    ]
}

/// Linkerd under a configuration.
pub(super) fn linkerd_of(config: &linkerd::Config) -> Profile {
    linkerd_profile("linkerd", &[], "Linkerd with options", config)
}

fn linkerd_profile(name: &str, aliases: &[&str], about: &str, config: &linkerd::Config) -> Profile {
    let text = linkerd::restore(config);
    Profile {
        name: name.to_owned(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        about: about.to_owned(),
        mesh: Mesh::Linkerd,
        ports: Ports {
            inbound: Some(config.incoming_proxy_port),
            outbound: config.outgoing_proxy_port,
            dns: None,
        },
        proxy: Proxy {
            uid: Some(config.proxy_uid),
            gid: config.proxy_gid,
            marks: Marks::default(),
            inbound_source: match config.self_redirect {
                true => InboundSource::Loopback,
                false => InboundSource::Kernel,
            },
            tproxy: None,
        },
        rules: Rules::Iptables {
            v6: config.ipv6.then(|| text.clone()),
            v4: text,
        },
        steps: Vec::new(),
    }
}
