//! Rule profiles: every rule set hoplab knows by a name, with what the proxy behind it must be. Pure.
//!
//! [`find`] is the one place that turns a name into rules. A profile is what a mesh installs when nobody changes an
//! option; with options, `hoplab rules render` writes the rules.

mod istio;
mod options;
mod peers;
mod proxy;

use serde::Serialize;

pub use options::with_options;
pub use proxy::{InboundSource, Marks, Ports, Proxy};

use crate::{
    interception::{INBOUND_SOURCE, Interception, UNBOUND},
    istio::routes::Step,
    rules::Family,
};

/// A rule set with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name it is found by.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What it is, in one line.
    pub about: String,
    /// Whose rules they are.
    pub mesh: Mesh,
    /// Ports of the proxy that rules send traffic to.
    pub ports: Ports,
    /// What the proxy must be for the rules to work.
    pub proxy: Proxy,
    /// The rules.
    pub rules: Rules,
    /// What the mesh tells the kernel beside the rules.
    pub steps: Vec<Step>,
}

/// A mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mesh {
    /// Istio with sidecars.
    Istio,
    /// Istio's ambient mode.
    Ambient,
    /// Kuma.
    Kuma,
    /// Linkerd.
    Linkerd,
}

impl std::fmt::Display for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Istio => "istio",
            Self::Ambient => "ambient",
            Self::Kuma => "kuma",
            Self::Linkerd => "linkerd",
        })
    }
}

/// Rules as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    Iptables {
        /// IPv4 rules.
        v4: String,
        /// IPv6 rules, where the mesh writes some.
        v6: Option<String>,
    },
    /// One transaction for `nft -f`, both families.
    Nft(String),
}

impl Rules {
    /// The iptables rules of a family. None for nft, and for a family without rules.
    pub fn iptables(&self, family: Family) -> Option<&str> {
        match (self, family) {
            (Self::Iptables { v4, .. }, Family::V4) => Some(v4),
            (Self::Iptables { v6, .. }, Family::V6) => v6.as_deref(),
            (Self::Nft(_), _) => None,
        }
    }
}

impl Profile {
    /// How sidecars of this profile intercept, as a lab builds it. None where its proxy is no sidecar, but one told by a
    /// mark (see [`Interception::of_rules`]).
    pub fn interception(&self) -> Option<Interception> {
        let inbound_source = match self.proxy.inbound_source {
            InboundSource::Address(sources) => sources,
            InboundSource::Client if self.proxy.tproxy.is_some() => INBOUND_SOURCE,
            InboundSource::Kernel | InboundSource::Loopback => UNBOUND,
            InboundSource::Client => return None,
        };
        Some(Interception {
            outbound: self.ports.outbound,
            inbound: self.ports.inbound?,
            inbound_source,
            app_at_loopback: self.proxy.inbound_source == InboundSource::Loopback,
            tproxy: self.proxy.tproxy,
            ztunnel: None,
            dns: self.ports.dns,
            owner: self.proxy.owner(),
        })
    }

    fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Every profile, mesh by mesh, oldest first. Releases of Istio that write the rules of another one are not among
/// them; [`find`] knows them too.
pub fn all() -> Vec<Profile> {
    let mut all = istio::sidecars();
    all.extend(istio::ambient());
    all.push(peers::kuma());
    all.extend(peers::linkerd());
    all
}

/// The profile of this name: one of [`all`], or `istio-1.N` for any known release.
pub fn find(name: &str) -> Option<Profile> {
    let known = all().into_iter().find(|profile| profile.has_name(name));
    known.or_else(|| istio::of_release(name))
}

#[cfg(test)]
mod tests;
