//! Ambient mode: the rules in a pod whose traffic ztunnel takes, and the host's rule for kubelet's probes.

mod host;
mod pod;
pub mod ztunnel;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use host::host;
pub use pod::pod;

use super::{
    BadValue, Environment, Settings, Warning,
    items::{Nic, items},
};
use crate::rules::Family;

/// Mark on packets ztunnel sends, of the bits in [`MASK`].
pub(crate) const ZTUNNEL_MARK: u32 = 0x539;
/// Mark on packets of connections ztunnel made.
pub(crate) const CONNECTION_MARK: u32 = 0x111;
/// Bits the marks are in.
pub(crate) const MASK: u32 = 0xfff;
pub(crate) const OUTBOUND_PORT: u16 = 15001;
pub(crate) const INBOUND_PORT: u16 = 15006;
pub(super) const HBONE_PORT: u16 = 15008;
pub(crate) const DNS_PORT: u16 = 15053;

const PREROUTING: &str = "PREROUTING";
const OUTPUT: &str = "OUTPUT";
const ISTIO_PRERT: &str = "ISTIO_PRERT";
const ISTIO_OUTPUT: &str = "ISTIO_OUTPUT";

/// Configuration of ambient rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambient {
    /// DNS goes to ztunnel.
    pub redirect_dns: bool,
    /// Inbound traffic is left alone but for HBONE.
    pub ingress_mode: bool,
    /// Virtual interfaces whose inbound traffic counts as outbound.
    pub virtual_interfaces: Vec<Nic>,
    /// Where kubelet's probes seem to come from.
    pub host_probe_snat: ProbeSource,
    /// IPv6 rules too.
    pub enable_ipv6: bool,
}

/// The source address the host gives kubelet's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSource {
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address.
    pub v6: Ipv6Addr,
}

impl Default for ProbeSource {
    fn default() -> Self {
        Self::ISTIO
    }
}

impl ProbeSource {
    /// The agent's defaults.
    pub const ISTIO: Self = Self {
        v4: Ipv4Addr::new(169, 254, 7, 127),
        v6: Ipv6Addr::new(
            0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff,
        ),
    };

    /// Variables of the agent for the addresses.
    pub const VARIABLES: [&'static str; 2] = ["HOST_PROBE_SNAT_IP", "HOST_PROBE_SNAT_IPV6"];

    /// The agent's variables, over its defaults.
    ///
    /// # Errors
    /// A variable is no address of its family.
    pub fn resolve(environment: &Environment) -> Result<Self, BadValue> {
        let [v4, v6] = Self::VARIABLES;
        let default = Self::default();
        Ok(Self {
            v4: address(v4, environment, "an IPv4 address")?.unwrap_or(default.v4),
            v6: address(v6, environment, "an IPv6 address")?.unwrap_or(default.v6),
        })
    }

    pub(super) fn of(self, family: Family) -> String {
        match family {
            Family::V4 => self.v4.to_string(),
            Family::V6 => self.v6.to_string(),
        }
    }
}

fn address<T: std::str::FromStr>(
    name: &str,
    environment: &Environment,
    what: &str,
) -> Result<Option<T>, BadValue> {
    let Some(text) = environment.get(name) else {
        return Ok(None);
    };
    let bad = || {
        BadValue::new(
            name,
            text,
            format!("it is not {what}"),
            format!("give {what}"),
        )
    };
    text.parse().map(Some).map_err(|_| bad())
}

/// What a pod says about itself, over the settings of all pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodOverrides {
    /// `ambient.istio.io/dns-capture`, if it is there.
    pub dns_capture: Option<bool>,
    /// `ambient.istio.io/bypass-inbound-capture`.
    pub ingress_mode: bool,
    /// `istio.io/reroute-virtual-interfaces`.
    pub virtual_interfaces: Option<String>,
}

impl Ambient {
    /// Joins settings, what the pod says, and the addresses.
    ///
    /// # Errors
    /// A virtual interface can't be one.
    pub fn new(
        settings: &Settings,
        pod: &PodOverrides,
        host_probe_snat: ProbeSource,
        ipv6: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, BadValue> {
        let nics = pod
            .virtual_interfaces
            .as_ref()
            .unwrap_or(&settings.reroute_virtual_interfaces);
        Ok(Self {
            redirect_dns: pod.dns_capture.unwrap_or(settings.redirect_dns),
            ingress_mode: pod.ingress_mode,
            virtual_interfaces: items("--kube-virt-interfaces", nics, warnings)?,
            host_probe_snat,
            enable_ipv6: ipv6,
        })
    }
}

/// What ambient rules call loopback.
pub(super) fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.1/32",
        Family::V6 => "::1/128",
    }
}

/// The host's set of pods whose probes get the special source.
pub(crate) fn probe_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "istio-inpod-probes-v4",
        Family::V6 => "istio-inpod-probes-v6",
    }
}
