//! From a pod to settings, the way Istio's injection does it. There are two ways, and they differ: the init
//! container gets arguments from the injection template, the CNI plugin reads the pod itself.

mod cni;
mod init;
mod manifest;
mod value;

use std::collections::BTreeMap;

pub use cni::cni;
pub use init::{InitContainer, init_container};
pub use manifest::{ManifestError, pod_from_manifest};

use super::{BadValue, ambient::PodOverrides, flags::go_bool};

const MODE: &str = "sidecar.istio.io/interceptionMode";
const INJECT: &str = "sidecar.istio.io/inject";
const STATUS_PORT: &str = "status.sidecar.istio.io/port";
const INCLUDE_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
const EXCLUDE_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
const INCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/includeInboundPorts";
const EXCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
const INCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
const EXCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
const KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
const REROUTE_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
const AMBIENT_DNS: &str = "ambient.istio.io/dns-capture";

/// What the names of annotations about captured traffic begin with.
const TRAFFIC: &str = "traffic.sidecar.istio.io/";

/// The annotations that change rules.
pub const KNOWN: &[&str] = &[
    MODE,
    INJECT,
    STATUS_PORT,
    INCLUDE_RANGES,
    EXCLUDE_RANGES,
    INCLUDE_INBOUND,
    EXCLUDE_INBOUND,
    INCLUDE_OUTBOUND,
    EXCLUDE_OUTBOUND,
    EXCLUDE_INTERFACES,
    KUBEVIRT_INTERFACES,
    REROUTE_INTERFACES,
    BYPASS_INBOUND,
    AMBIENT_DNS,
    PROXY_CONFIG,
];

/// Proxy configuration of one pod, as YAML.
const PROXY_CONFIG: &str = "proxy.istio.io/config";

/// What injection looks at in a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Variables of the proxy: of its container, or from the proxy configuration of the pod.
    pub proxy_env: BTreeMap<String, String>,
    /// Interception mode in the proxy configuration of the pod.
    pub interception_mode: Option<String>,
    /// `runAsUser` of the proxy's container.
    pub run_as_user: Option<u32>,
    /// `runAsGroup` of the proxy's container.
    pub run_as_group: Option<u32>,
    /// The pod uses the node's network.
    pub host_network: bool,
}

impl Pod {
    /// Adds an annotation. The proxy configuration in it is read at once.
    ///
    /// # Errors
    /// The proxy configuration is no YAML.
    pub fn annotate(&mut self, name: &str, value: &str) -> Result<(), BadValue> {
        if name == PROXY_CONFIG {
            manifest::read_proxy_config(value, self).map_err(|why| {
                BadValue::new(
                    PROXY_CONFIG,
                    value,
                    why,
                    "give YAML like `proxyMetadata: {NAME: \"value\"}`",
                )
            })?;
        }
        self.annotations.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Annotations that look as if they changed rules, and that Istio does not know: `excludeOutboundPort`.
    pub fn unknown_annotations(&self) -> impl Iterator<Item = &str> {
        let all = self.annotations.keys().map(String::as_str);
        all.filter(|name| name.starts_with(TRAFFIC) && !KNOWN.contains(name))
    }

    /// Why injection leaves the pod alone, if it does.
    pub fn left_alone(&self) -> Option<String> {
        if self.host_network {
            return Some("it uses the node's network".to_owned());
        }
        // The label wins over the annotation of the same name.
        let inject = self
            .labels
            .get(INJECT)
            .or_else(|| self.annotations.get(INJECT))?;
        let off = ["false", "n", "no", "off"].contains(&inject.to_ascii_lowercase().as_str());
        off.then(|| format!("{INJECT} is `{inject}`"))
    }

    /// What the pod says about ambient mode.
    ///
    /// # Errors
    /// An annotation is neither true nor false.
    pub fn ambient(&self) -> Result<PodOverrides, BadValue> {
        Ok(PodOverrides {
            dns_capture: self.truth(AMBIENT_DNS)?,
            ingress_mode: self.truth(BYPASS_INBOUND)?.unwrap_or(false),
            virtual_interfaces: self
                .annotation(REROUTE_INTERFACES)
                .map(|list| value::interfaces(REROUTE_INTERFACES, list).map(|()| list.to_owned()))
                .transpose()?,
        })
    }

    fn truth(&self, name: &str) -> Result<Option<bool>, BadValue> {
        let Some(text) = self.annotation(name) else {
            return Ok(None);
        };
        let bad = || {
            BadValue::new(
                name,
                text,
                "it is neither true nor false",
                "give \"true\" or \"false\"",
            )
        };
        go_bool(text).map(Some).ok_or_else(bad)
    }
}
