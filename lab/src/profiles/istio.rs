//! Profiles of Istio: one for each generation of rules, with the flags that injection gives.

use super::{InboundSource, Marks, Mesh, Ports, Profile, Proxy, Rules};
use crate::{
    builtin,
    interception::Interception,
    istio::{
        self, Config, Emitted, Flag, Generation, Host, Release, Settings,
        ambient::{self, Ambient, ProbeSource, ztunnel},
        nft,
        routes::{self, Mark},
    },
    rules::Family,
};

/// What injection tells istio-iptables when the pod says nothing: all inbound ports but the agent's own, all of
/// outbound.
const INJECTED: &[(&str, &str)] = &[
    ("istio-inbound-ports", "*"),
    ("istio-local-exclude-ports", "15090,15021,15020"),
    ("istio-service-cidr", "*"),
    ("proxy-uid", "1337"),
];

/// The profile whose text came with the project, and not from the generator.
const GIVEN: &str = "istio-1.13";

/// The profile of rules in nft's own language.
const NATIVE_NFT: &str = "istio-nft";

/// Every sidecar profile.
pub(super) fn sidecars() -> Vec<Profile> {
    let mut profiles: Vec<Profile> = Generation::ALL
        .into_iter()
        .filter_map(of_generation)
        .collect();
    profiles.extend(sidecar(
        "istio-tproxy",
        Release::NEWEST,
        "TPROXY",
        &tproxy_about(),
    ));
    profiles.extend(native_nft());
    profiles
}

fn tproxy_about() -> String {
    format!(
        "Istio {}, sidecar: inbound with TPROXY, outbound with REDIRECT",
        Release::NEWEST
    )
}

fn of_generation(generation: Generation) -> Option<Profile> {
    let (first, last) = generation.releases();
    let mut profile = of_line(first)?;
    if last == Release::NEWEST {
        profile.aliases = vec!["istio".to_owned()];
    }
    Some(profile)
}

/// `istio-1.N` for any known release.
pub(super) fn of_release(name: &str) -> Option<Profile> {
    of_line(name.strip_prefix("istio-")?.parse().ok()?)
}

fn of_line(release: Release) -> Option<Profile> {
    let generation = release.generation();
    let (first, last) = generation.releases();
    let lines = if first == last {
        first.to_string()
    } else {
        format!("{first} to {last}")
    };
    let about = format!(
        "Istio {lines}, sidecar (G{}): {}",
        generation as u8,
        what_changed(generation)
    );
    let mut profile = sidecar(&format!("istio-{release}"), release, "REDIRECT", &about)?;
    if let (GIVEN, Some(v4)) = (profile.name.as_str(), builtin::rule_text(GIVEN, Family::V4)) {
        let v6 = builtin::rule_text(GIVEN, Family::V6).map(str::to_owned);
        profile.rules = Rules::Iptables {
            v4: v4.to_owned(),
            v6,
        };
    }
    Some(profile)
}

fn what_changed(generation: Generation) -> &'static str {
    match generation {
        Generation::G0 => "inbound port 22 is never captured",
        Generation::G1 => "port 22 is captured like any other",
        Generation::G2 => "calls to the own pod: TCP only, and not to the tunnel port",
        Generation::G3 => "answers of DNS servers are known by their source (DNS capture)",
        Generation::G4 => "DNS over UDP passes ISTIO_OUTPUT; no RETURN after a list of ranges",
        Generation::G5 => "invalid packets are dropped in ISTIO_DROP (drop-invalid)",
        Generation::G6 => "OUTPUT asks ISTIO_OUTPUT for every protocol; DNS has its own chain",
    }
}

/// The configuration of a pod with both families.
fn config(mode: &str) -> Option<Config> {
    let given = INJECTED
        .iter()
        .copied()
        .chain([("istio-inbound-interception-mode", mode)]);
    let flags: Vec<_> = given
        .filter_map(|(name, value)| Some((Flag::find(name)?, value)))
        .collect();
    let mut warnings = Vec::new();
    let settings = Settings::resolve(&istio::Environment::new(), flags, &mut warnings).ok()?;
    let host = Host {
        ipv6: true,
        ..Host::default()
    };
    Config::new(&settings, &host, &mut warnings).ok()
}

fn sidecar(name: &str, release: Release, mode: &str, about: &str) -> Option<Profile> {
    let config = config(mode)?;
    let rules = restore_texts(&istio::iptables(&config, release));
    Some(with_config(name, about, &config, rules))
}

/// A sidecar profile with more flags of istio-iptables than injection gives.
pub(super) fn with_flags(
    name: &str,
    more: Vec<(&'static Flag, &str)>,
    servers: &istio::DnsServers,
) -> Result<Profile, String> {
    let mode = match name {
        "istio-tproxy" => "TPROXY",
        _ => "REDIRECT",
    };
    let release = name.strip_prefix("istio-").and_then(|it| it.parse().ok());
    let release = release.unwrap_or(Release::NEWEST);
    let given = INJECTED
        .iter()
        .copied()
        .chain([("istio-inbound-interception-mode", mode)]);
    let mut flags: Vec<_> = given
        .filter_map(|(name, value)| Some((Flag::find(name)?, value)))
        .collect();
    flags.extend(more);
    let mut warnings = Vec::new();
    let settings = Settings::resolve(&istio::Environment::new(), flags, &mut warnings);
    let settings = settings.map_err(|bad| bad.to_string())?;
    let host = Host {
        ipv6: true,
        dns_servers: servers.clone(),
        ..Host::default()
    };
    let config = Config::new(&settings, &host, &mut warnings).map_err(|bad| bad.to_string())?;
    if let Some(unknown) = config.unknown_to(release) {
        return Err(unknown.to_string());
    }
    let rules = match name {
        NATIVE_NFT => transaction(&config),
        _ => restore_texts(&istio::iptables(&config, release)),
    };
    let about = format!("Istio {release}, sidecar, with options");
    Ok(with_config(name, &about, &config, rules))
}

fn native_nft() -> Option<Profile> {
    let config = config("REDIRECT")?;
    let about = format!(
        "Istio 1.27 to {}, sidecar, native nftables",
        Release::NEWEST
    );
    Some(with_config(
        NATIVE_NFT,
        &about,
        &config,
        transaction(&config),
    ))
}

fn transaction(config: &Config) -> Rules {
    let (layout, rules) = nft::sidecar(config);
    Rules::Nft(nft::transaction(layout, &rules))
}

fn with_config(name: &str, about: &str, config: &Config, rules: Rules) -> Profile {
    let interception = Interception::of(config);
    let id = |owners: &[istio::Owner]| owners.first().and_then(|it| it.to_string().parse().ok());
    Profile {
        name: name.to_owned(),
        aliases: Vec::new(),
        about: about.to_owned(),
        mesh: Mesh::Istio,
        ports: Ports {
            inbound: Some(interception.inbound),
            outbound: interception.outbound,
            dns: interception.dns,
        },
        proxy: Proxy {
            uid: id(&config.proxy_uid),
            gid: id(&config.proxy_gid),
            marks: Marks {
                sent: interception.tproxy.map(|it| format!("{:#x}", it.mark)),
                connection: interception.tproxy.map(|it| format!("{:#x}", it.mark)),
            },
            inbound_source: match interception.tproxy {
                Some(_) => InboundSource::Client,
                None => InboundSource::Address(interception.inbound_source),
            },
            tproxy: interception.tproxy,
        },
        rules,
        steps: routes::sidecar(config),
    }
}

fn restore_texts(rules: &[Emitted]) -> Rules {
    let v6 = istio::restore(rules, Family::V6);
    Rules::Iptables {
        v4: istio::restore(rules, Family::V4),
        v6: Some(v6).filter(|text| !text.is_empty()),
    }
}

/// Every profile of ambient mode.
pub(super) fn ambient() -> Vec<Profile> {
    let config = |ipv6| Ambient {
        redirect_dns: true,
        ingress_mode: false,
        virtual_interfaces: Vec::new(),
        host_probe_snat: ProbeSource::default(),
        enable_ipv6: ipv6,
    };
    let newest = Release::NEWEST;
    let (layout, nft_rules) = nft::ambient_pod(&config(true));
    let dedicated = ztunnel_profile(
        "ztunnel-dedicated",
        &["ztunnel-1"],
        "ztunnel for one program, as its own tests install it (Z1): only what leaves the machine is captured",
        restore_texts(&ztunnel::dedicated()),
    );
    vec![
        Profile {
            steps: routes::ambient(&config(true)),
            ..ztunnel_profile(
                "ambient",
                &[],
                &format!("Istio 1.24 to {newest}, ambient: the rules in a pod, with DNS"),
                restore_texts(&ambient::pod(&config(true))),
            )
        },
        Profile {
            steps: routes::ambient(&config(true)),
            ..ztunnel_profile(
                "ambient-nft",
                &[],
                &format!(
                    "Istio 1.28 to {newest}, ambient, native nftables (spelling reconstructed)"
                ),
                Rules::Nft(nft::transaction(layout, &nft_rules)),
            )
        },
        Profile {
            steps: routes::ambient(&config(false)),
            ..ztunnel_profile(
                "ztunnel",
                &["ztunnel-0"],
                "ztunnel in a pod, as its own tests install it (Z0): ambient without conntrack zones, IPv4",
                restore_texts(&ztunnel::in_pod()),
            )
        },
        Profile {
            ports: Ports {
                inbound: None,
                dns: None,
                ..dedicated.ports
            },
            proxy: Proxy {
                marks: Marks {
                    connection: None,
                    ..dedicated.proxy.marks.clone()
                },
                ..dedicated.proxy.clone()
            },
            ..dedicated
        },
    ]
}

/// What all rules for ztunnel have in common: it is known by marks, and calls an app as its client.
fn ztunnel_profile(name: &str, aliases: &[&str], about: &str, rules: Rules) -> Profile {
    let mark = |mark| Some(Mark::Masked(mark, ambient::MASK).to_string());
    Profile {
        name: name.to_owned(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        about: about.to_owned(),
        mesh: Mesh::Ambient,
        ports: Ports {
            inbound: Some(ambient::INBOUND_PORT),
            outbound: ambient::OUTBOUND_PORT,
            dns: Some(ambient::DNS_PORT),
        },
        proxy: Proxy {
            uid: None,
            gid: None,
            marks: Marks {
                sent: mark(ambient::ZTUNNEL_MARK),
                connection: mark(ambient::CONNECTION_MARK),
            },
            inbound_source: InboundSource::Client,
            tproxy: None,
        },
        rules,
        steps: Vec::new(),
    }
}
