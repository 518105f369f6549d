//! How the sidecars of a run intercept, beside the rules: what proxy and routes must be for the rules to work. Pure.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::{
    istio::{
        Config, InterceptionMode, Owner,
        ambient::{self, Ambient},
        routes::Mark,
    },
    ports,
    rules::{
        ConnmarkAction, Family, MarkValue, Match, Matches, OwnerId, Protocol, Rule, RuleSet, Table,
        TableRules, Target,
    },
    topology::Proxy,
};

/// What a sidecar's proxy listens on, who it is, and how its packets are marked and routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interception {
    /// Port of the outbound listener.
    pub outbound: u16,
    /// Port of the inbound listener.
    pub inbound: u16,
    /// Source of inbound upstream connections, IPv4 and IPv6, in REDIRECT mode; unspecified where the kernel picks.
    pub inbound_source: [IpAddr; 2],
    /// Inbound upstream connections go to loopback, and not to the address that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub app_at_loopback: bool,
    /// Present in TPROXY mode.
    pub tproxy: Option<Tproxy>,
    /// Present in ambient mode, where the proxy plays ztunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ztunnel: Option<Ztunnel>,
    /// Port of the DNS listener, UDP and TCP, when DNS is captured.
    pub dns: Option<u16>,
    /// User and group of the proxy; none leaves them to the lab file.
    pub owner: Option<(u32, u32)>,
}

/// What TPROXY needs beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tproxy {
    /// Mark of the packets that routes bring to the proxy, and of the proxy's own inbound upstream connections.
    pub mark: u32,
    /// Routing table that takes them to lo.
    pub route_table: u32,
}

/// What ambient mode needs beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ztunnel {
    /// Mark of every connection that ztunnel opens. Those to the pod's own app keep the client's address.
    pub mark: u32,
    /// Source that the host gives to what its own sockets send to a captured pod over TCP, IPv4 and IPv6: pods leave it
    /// alone, so that kubelet's probes reach them. None where the host has no such rules.
    pub probes: Option<[IpAddr; 2]>,
    /// Mark of the packets that routes bring to ztunnel: answers to calls it made with an address of somebody else.
    pub routed: Mark,
}

/// Source of inbound upstream connections, IPv4 and IPv6 (Istio's InboundPassthroughBindIpv4 and -Ipv6).
pub const INBOUND_SOURCE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

/// No source of its own for inbound upstream connections: the kernel picks one.
pub const UNBOUND: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

impl Default for Interception {
    /// REDIRECT with Istio's ports, without DNS.
    fn default() -> Self {
        Self {
            outbound: ports::OUTBOUND,
            inbound: ports::INBOUND,
            inbound_source: INBOUND_SOURCE,
            app_at_loopback: false,
            tproxy: None,
            ztunnel: None,
            dns: None,
            owner: None,
        }
    }
}

impl Interception {
    /// What goes with the rules of a configuration.
    ///
    /// In TPROXY mode the proxy needs CAP_NET_ADMIN, so Istio runs it as root with its own group, which the group
    /// rules know. Of several users or groups the proxy is the first.
    pub fn of(config: &Config) -> Self {
        let first = |owners: &[Owner]| owners.iter().find_map(|o| o.to_string().parse().ok());
        let owner = first(&config.proxy_uid).zip(first(&config.proxy_gid));
        let tproxy =
            (config.inbound_interception_mode == InterceptionMode::Tproxy).then_some(Tproxy {
                mark: config.inbound_tproxy_mark,
                route_table: config.inbound_tproxy_route_table,
            });
        Self {
            outbound: config.proxy_port,
            inbound: config.inbound_capture_port,
            owner: match tproxy {
                Some(_) => owner.map(|(_, gid)| (0, gid)),
                None => owner,
            },
            tproxy,
            dns: config.dns.as_ref().map(|_| ports::DNS),
            ..Self::default()
        }
    }

    /// What goes with the rules of ambient mode.
    ///
    /// ztunnel runs as root with group 1337 (its chart's `runAsUser` and `runAsGroup`), and no rule asks for either.
    pub fn of_ambient(config: &Ambient) -> Self {
        let probes = config.host_probe_snat;
        Self {
            outbound: ambient::OUTBOUND_PORT,
            inbound: ambient::INBOUND_PORT,
            ztunnel: Some(Ztunnel {
                mark: ambient::ZTUNNEL_MARK,
                probes: Some([probes.v4.into(), probes.v6.into()]),
                routed: Mark::Masked(ambient::CONNECTION_MARK, ambient::MASK),
            }),
            dns: config.redirect_dns.then_some(ambient::DNS_PORT),
            owner: Some((0, PROXY_GROUP)),
            ..Self::default()
        }
    }

    /// Mark of inbound upstream connections, where these keep the client's address.
    pub fn keeps_client(&self) -> Option<u32> {
        let of_ztunnel = self.ztunnel.map(|it| it.mark);
        self.tproxy.map(|it| it.mark).or(of_ztunnel)
    }

    /// Mark of every other connection that the proxy of a sidecar opens; 0 is none.
    pub fn upstream_mark(&self) -> u32 {
        self.ztunnel.map_or(0, |it| it.mark)
    }

    /// Marks of packets that routes bring to lo.
    pub fn local_marks(&self) -> Vec<MarkValue> {
        let of_tproxy = self.tproxy.map(|it| Mark::Whole(it.mark));
        let marks = of_tproxy
            .into_iter()
            .chain(self.ztunnel.map(|it| it.routed));
        let value = |mark| match mark {
            Mark::Whole(value) => MarkValue {
                value,
                mask: u32::MAX,
            },
            Mark::Masked(value, mask) => MarkValue { value, mask },
        };
        marks.map(value).collect()
    }

    /// User and group of a pod's proxy. A gateway is not intercepted, and stays who it is.
    pub fn owner_of(&self, proxy: &Proxy) -> (u32, u32) {
        match proxy {
            Proxy::Sidecar { .. } => self.owner.unwrap_or_else(|| proxy.owner()),
            Proxy::Gateway { .. } => proxy.owner(),
        }
    }

    /// Source of inbound upstream connections of a family, in REDIRECT mode; none where the kernel picks.
    pub fn source(&self, family: Family) -> Option<IpAddr> {
        let source = self.inbound_source[usize::from(family == Family::V6)];
        (!source.is_unspecified()).then_some(source)
    }

    /// What goes with rules that come without a configuration, as far as they tell; else as [`Self::default`].
    ///
    /// - inbound: the port of a TPROXY, else of a REDIRECT that nat PREROUTING reaches without asking for an
    ///   interface (those are for virtual machines, and go to the outbound port);
    /// - outbound: the port of a REDIRECT that nat OUTPUT reaches, other than inbound;
    /// - DNS: the port of a REDIRECT for port 53;
    /// - TPROXY: the mark it gives; the routing table is Istio's;
    /// - ztunnel: the mark that a REDIRECT leaves alone, if connections with it get a mark, too. The host has no rules;
    /// - owner: with TPROXY root, and the first group that the rules let out; ztunnel is root. Else the lab file says.
    ///
    /// Of several ports, Istio's is taken where it is among them, else the lowest.
    pub fn of_rules(sets: &[RuleSet]) -> Self {
        let usual = Self::default();
        let (mut into, mut out, mut dns) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut tproxies = Vec::new();
        for set in sets {
            if let Some(nat) = set.tables.get(&Table::Nat) {
                redirects(nat, "PREROUTING", &mut into, &mut dns);
                redirects(nat, "OUTPUT", &mut out, &mut dns);
            }
            tproxies.extend(set.rules(Table::Mangle).filter_map(
                |(_, rule)| match &rule.spec.target {
                    Target::Tproxy { port, mark, .. } => Some((*port, mark.apply(0))),
                    _ => None,
                },
            ));
        }
        let tproxy = tproxies.first();
        let ztunnel = ztunnel(sets);
        let of_ztunnel = ztunnel.map(|_| (0, PROXY_GROUP));
        let pick = |ports: &BTreeSet<u16>, usual: u16| match ports.first() {
            Some(first) if !ports.contains(&usual) => *first,
            _ => usual,
        };
        let inbound = tproxy.map_or_else(|| pick(&into, usual.inbound), |(port, _)| *port);
        out.remove(&inbound);
        Self {
            outbound: pick(&out, usual.outbound),
            inbound,
            tproxy: tproxy.map(|(_, mark)| Tproxy {
                mark: *mark,
                route_table: ROUTE_TABLE,
            }),
            dns: (!dns.is_empty()).then(|| pick(&dns, ports::DNS)),
            owner: tproxy
                .map(|_| (0, let_out(sets).unwrap_or(PROXY_GROUP)))
                .or(of_ztunnel),
            ztunnel,
            ..usual
        }
    }
}

/// Routing table of TPROXY mode when nobody says which.
const ROUTE_TABLE: u32 = 133;
/// Group of the proxy when nobody says which.
const PROXY_GROUP: u32 = 1337;

/// Ports of the REDIRECTs that a chain reaches: those for port 53 apart.
fn redirects(nat: &TableRules, from: &str, ports: &mut BTreeSet<u16>, dns: &mut BTreeSet<u16>) {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(name) = open.pop() {
        let Some(chain) = nat.chain(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        for spec in chain.rules.iter().map(|rule| &rule.spec) {
            if spec.matches.in_interface.is_some() {
                continue;
            }
            open.extend(spec.target.chain());
            if let Target::Redirect { ports: Some(to) } = &spec.target {
                match is_for_dns(&spec.matches) {
                    true => dns.insert(to.first()),
                    false => ports.insert(to.first()),
                };
            }
        }
    }
}

fn is_for_dns(matches: &Matches) -> bool {
    matches.only_protocol() == Some(Protocol::Udp)
        || matches.extensions().iter().any(|it| {
            matches!(it, Match::DestinationPort(port) if !port.negated && port.value.contains(53))
        })
}

/// ztunnel, where the rules know it by a mark.
fn ztunnel(sets: &[RuleSet]) -> Option<Ztunnel> {
    let mark_asked = |rule: &Rule, wanted: bool| {
        let mut asked = rule.spec.matches.extensions().iter();
        asked.find_map(|it| match it {
            Match::Mark(mark) if mark.negated != wanted => Some(mark.value),
            _ => None,
        })
    };
    let rules = |table| sets.iter().flat_map(move |set| set.rules(table));
    let known = rules(Table::Nat).find_map(|(_, rule)| match &rule.spec.target {
        Target::Redirect { .. } => mark_asked(rule, false),
        _ => None,
    })?;
    rules(Table::Mangle).find_map(|(_, rule)| match &rule.spec.target {
        Target::Connmark(ConnmarkAction::Set(mark)) if mark_asked(rule, true) == Some(known) => {
            Some(Ztunnel {
                mark: known.value,
                probes: None,
                routed: Mark::Masked(mark.value, mark.mask),
            })
        }
        _ => None,
    })
}

/// The first group whose traffic the rules let out.
fn let_out(sets: &[RuleSet]) -> Option<u32> {
    let rules = sets.iter().flat_map(|set| set.rules(Table::Nat));
    let returns = rules.filter(|(_, rule)| rule.spec.target == Target::Return);
    let mut groups = returns.filter_map(|(_, rule)| {
        rule.spec
            .matches
            .extensions()
            .iter()
            .find_map(|it| match it {
                Match::OwnerGid(group) if !group.negated => match group.value {
                    OwnerId::Range { first, .. } => Some(first),
                    OwnerId::Name(_) => None,
                },
                _ => None,
            })
    });
    groups.next()
}

/// `TPROXY, DNS captured`.
impl fmt::Display for Interception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ztunnel, self.tproxy) {
            (Some(_), _) => "ambient",
            (None, Some(_)) => "TPROXY",
            (None, None) => "REDIRECT",
        })?;
        match self.dns {
            Some(_) => f.write_str(", DNS captured"),
            None => Ok(()),
        }
    }
}
