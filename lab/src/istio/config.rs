//! What a configuration means: settings checked and typed, ready for a generator.

use super::{
    BadValue, Cidr, Settings, Warning,
    dns::{DnsCapture, DnsServers},
    items::{Nic, Owner, Port, items},
    owners::OwnerGroups,
    ranges::{self, Ranges},
};
use crate::rules::Family;

/// A sidecar's configuration. Field names are Istio's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Port outbound traffic goes to.
    pub proxy_port: u16,
    /// Port inbound traffic goes to.
    pub inbound_capture_port: u16,
    /// Port for tunnelled traffic.
    pub inbound_tunnel_port: u16,
    /// Users of the proxy.
    pub proxy_uid: Vec<Owner>,
    /// Groups of the proxy.
    pub proxy_gid: Vec<Owner>,
    /// How inbound traffic is captured.
    pub inbound_interception_mode: InterceptionMode,
    /// Mark of packets for the proxy.
    pub inbound_tproxy_mark: u32,
    /// Routing table for marked packets.
    pub inbound_tproxy_route_table: u32,
    /// Which inbound ports are captured.
    pub inbound_ports: InboundPorts,
    /// Interfaces left alone.
    pub exclude_interfaces: Vec<Nic>,
    /// Destinations that are captured.
    pub outbound_ip_ranges_include: Ranges,
    /// Destinations that are not.
    pub outbound_ip_ranges_exclude: Vec<Cidr>,
    /// Destination ports that are captured whatever the address.
    pub outbound_ports_include: Vec<Port>,
    /// Destination ports that are not.
    pub outbound_ports_exclude: Vec<Port>,
    /// Virtual interfaces whose inbound traffic counts as outbound.
    pub reroute_virtual_interfaces: Vec<Nic>,
    /// Groups whose traffic is captured.
    pub owner_groups: OwnerGroups,
    /// What counts as loopback over IPv4.
    pub host_ipv4_loopback_cidr: Cidr,
    /// DNS capture, when it is on and has something to capture.
    pub dns: Option<DnsCapture>,
    /// Drop what conntrack calls invalid.
    pub drop_invalid: bool,
    /// IPv6 rules too.
    pub enable_ipv6: bool,
}

/// How inbound traffic gets to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterceptionMode {
    /// The destination is rewritten.
    Redirect,
    /// The packet is handed over as it is.
    Tproxy,
}

/// Which inbound ports are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundPorts {
    /// None: there is no jump at all.
    Off,
    /// All but these.
    AllBut(Vec<Port>),
    /// Only these.
    Only(Vec<Port>),
}

/// What Istio would find out about the machine it runs on.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Uid of the user `$ENVOY_USER`, when there is one.
    pub envoy_user_uid: Option<u32>,
    /// DNS servers, from a person or from resolv.conf.
    pub dns_servers: DnsServers,
    /// The first address found is an IPv6 one, or dual-stack found one.
    pub ipv6: bool,
}

impl Config {
    /// Checks settings and types them.
    ///
    /// # Errors
    /// A value that no rule can be made of, or that Istio rejects.
    pub fn new(
        settings: &Settings,
        host: &Host,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, BadValue> {
        let s = settings;
        let uid = match (s.proxy_uid.as_str(), host.envoy_user_uid) {
            ("", Some(uid)) => uid.to_string(),
            ("", None) => DEFAULT_PROXY_UID.to_owned(),
            (given, _) => given.to_owned(),
        };
        let gid = if s.proxy_gid.is_empty() {
            &uid
        } else {
            &s.proxy_gid
        };
        let w = warnings;
        let config = Self {
            proxy_port: port("--envoy-port", &s.proxy_port)?,
            inbound_capture_port: port("--inbound-capture-port", &s.inbound_capture_port)?,
            inbound_tunnel_port: port("--inbound-tunnel-port", &s.inbound_tunnel_port)?,
            proxy_uid: items("--proxy-uid", &uid, w)?,
            proxy_gid: items("--proxy-gid", gid, w)?,
            inbound_interception_mode: mode(&s.inbound_interception_mode, w),
            inbound_tproxy_mark: number("--istio-inbound-tproxy-mark", &s.inbound_tproxy_mark)?,
            inbound_tproxy_route_table: number(
                "--istio-inbound-tproxy-route-table",
                &s.inbound_tproxy_route_table,
            )?,
            inbound_ports: inbound_ports(s, w)?,
            exclude_interfaces: items("--istio-exclude-interfaces", &s.exclude_interfaces, w)?,
            outbound_ip_ranges_include: ranges::included(&s.outbound_ip_ranges_include, w),
            outbound_ip_ranges_exclude: ranges::excluded(&s.outbound_ip_ranges_exclude, w)?,
            outbound_ports_include: items("--istio-outbound-ports", &s.outbound_ports_include, w)?,
            outbound_ports_exclude: items(
                "--istio-local-outbound-ports-exclude",
                &s.outbound_ports_exclude,
                w,
            )?,
            reroute_virtual_interfaces: items(
                "--kube-virt-interfaces",
                &s.reroute_virtual_interfaces,
                w,
            )?,
            owner_groups: OwnerGroups::new(&s.owner_groups_include, &s.owner_groups_exclude, w)?,
            host_ipv4_loopback_cidr: ranges::loopback(&s.host_ipv4_loopback_cidr)?,
            dns: DnsCapture::new(s, &host.dns_servers, w),
            drop_invalid: s.drop_invalid,
            enable_ipv6: host.ipv6,
        };
        binary(&s.force_iptables_binary)?;
        super::surprises::look_for(s, &config, w);
        Ok(config)
    }

    /// What counts as loopback.
    pub(super) fn loopback(&self, family: Family) -> String {
        match family {
            Family::V4 => self.host_ipv4_loopback_cidr.to_string(),
            Family::V6 => "::1/128".to_owned(),
        }
    }

    /// TPROXY, not REDIRECT.
    pub(super) fn is_tproxy(&self) -> bool {
        self.inbound_interception_mode == InterceptionMode::Tproxy
    }
}

/// Who the proxy is when nobody says.
const DEFAULT_PROXY_UID: &str = "1337";

/// The source address of calls the proxy makes to its own pod for somebody outside.
pub(super) fn passthrough_source(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.6/32",
        Family::V6 => "::6/128",
    }
}

/// Mark of packets from the proxy to its own pod, in TPROXY mode.
pub(super) const OUTBOUND_MARK: u32 = 1338;

fn mode(text: &str, warnings: &mut Vec<Warning>) -> InterceptionMode {
    match text {
        "TPROXY" => InterceptionMode::Tproxy,
        "" | "REDIRECT" => InterceptionMode::Redirect,
        other => {
            warnings.push(Warning::ModeMeansRedirect(other.to_owned()));
            InterceptionMode::Redirect
        }
    }
}

fn inbound_ports(s: &Settings, warnings: &mut Vec<Warning>) -> Result<InboundPorts, BadValue> {
    let excluded = items(
        "--istio-local-exclude-ports",
        &s.inbound_ports_exclude,
        warnings,
    )?;
    if s.inbound_ports_include == "*" {
        return Ok(InboundPorts::AllBut(excluded));
    }
    if !excluded.is_empty() {
        warnings.push(Warning::InboundExclusionsIgnored);
    }
    if s.inbound_ports_include.is_empty() {
        return Ok(InboundPorts::Off);
    }
    items("--istio-inbound-ports", &s.inbound_ports_include, warnings).map(InboundPorts::Only)
}

fn port(name: &str, text: &str) -> Result<u16, BadValue> {
    let bad = || BadValue::new(name, text, "it is no port", "give a number from 1 to 65535");
    text.parse().ok().filter(|port| *port != 0).ok_or_else(bad)
}

fn number(name: &str, text: &str) -> Result<u32, BadValue> {
    let bad = || {
        BadValue::new(
            name,
            text,
            "it is no decimal number",
            "give a number like 1337",
        )
    };
    text.parse().map_err(|_| bad())
}

fn binary(text: &str) -> Result<(), BadValue> {
    match text {
        "" | "nft" | "legacy" => Ok(()),
        _ => Err(BadValue::new(
            "--force-iptables-binary",
            text,
            "Istio knows nft and legacy",
            "give nft or legacy, or leave it out",
        )),
    }
}
