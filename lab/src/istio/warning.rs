//! What Istio accepts without a word and a person may not expect. The rules are Istio's all the same.

use thiserror::Error;

/// One surprise in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Warning {
    /// A variable does not parse, and Istio drops it in silence.
    #[error("Istio ignores the variable {name}, since `{value}` is {why}")]
    VariableIgnored {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
        /// Why it doesn't parse.
        why: String,
    },
    /// Neither TPROXY nor REDIRECT.
    #[error(
        "the interception mode `{0}` means REDIRECT: Istio knows the one word TPROXY, in capitals"
    )]
    ModeMeansRedirect(String),
    /// No part of the pod's traffic is captured.
    #[error(
        "nothing is captured: neither inbound ports nor outbound ranges or ports are given, and their defaults are empty"
    )]
    NothingCaptured,
    /// Inbound exclusions only count with `*`.
    #[error(
        "istio-local-exclude-ports is without effect: it counts with istio-inbound-ports `*` only"
    )]
    InboundExclusionsIgnored,
    /// The ranges already take everything.
    #[error("istio-outbound-ports is without effect: istio-service-cidr `*` takes all ports")]
    OutboundPortsPointless,
    /// A range that is no range.
    #[error("Istio ignores `{value}` in {name}: {why}")]
    CidrIgnored {
        /// The flag.
        name: &'static str,
        /// The item of the list.
        value: String,
        /// Why it is no range.
        why: String,
    },
    /// Istio splits lists at commas and trims nothing.
    #[error(
        "the space in `{value}` ({name}) goes into the rule as it is: Istio trims no list items"
    )]
    SpaceKept {
        /// The flag.
        name: &'static str,
        /// The item of the list.
        value: String,
    },
    /// iptables looks the name up when the rules are applied.
    #[error("`{value}` in {name} is a name: the rules load only where it can be resolved")]
    Name {
        /// The flag.
        name: &'static str,
        /// The name.
        value: String,
    },
    /// DNS capture asked for, but no server known.
    #[error("DNS is not captured: redirect-dns knows no DNS server, and capture-all-dns is off")]
    DnsWithoutServers,
    /// Capture-all without capture.
    #[error("capture-all-dns is without effect: it counts with redirect-dns only")]
    CaptureAllIgnored,
    /// Group exclusions only count with `*`.
    #[error(
        "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE is without effect: it counts with ISTIO_OUTBOUND_OWNER_GROUPS `*` only"
    )]
    GroupExclusionsIgnored,
    /// An empty include list returns everything.
    #[error("ISTIO_OUTBOUND_OWNER_GROUPS is empty: no group's traffic is captured")]
    NoGroupCaptured,
    /// The release has no owner groups.
    #[error("Istio {0} knows no owner groups: they appeared in 1.14")]
    NoOwnerGroups(super::Release),
    /// Detection of IPv6 is what dual-stack changes.
    #[error(
        "dual-stack alone adds no IPv6 rules: it only changes how Istio looks for an IPv6 address; --ipv6 says one was found"
    )]
    DualStackAlone,
    /// The inet family catches IPv6 too.
    #[error(
        "with IPv6 off nft still captures IPv6 where a rule names no address; a proxy that listens on IPv4 only refuses it"
    )]
    NftCatchesIpv6,
    /// Only REDIRECT mode exempts the tunnel port.
    #[error("TPROXY captures the tunnel port {0} as well; REDIRECT leaves it alone")]
    TproxyTakesTunnelPort(u16),
    /// Of several users, only the first is told apart on lo.
    #[error(
        "with several proxy users, calls of all but the first to the pod's own address bypass the proxy"
    )]
    SeveralUsers,
    /// An option that changes what Istio does with the rules.
    #[error("with {0} Istio would not install these rules")]
    NotInstalled(&'static str),
    /// Meaning and order are Istio's, the spelling may not be.
    #[error(
        "the spelling of ambient nft rules is reconstructed: compare what they do with Istio's, not their text"
    )]
    AmbientNftReconstructed,
    /// The pod gets no rules from injection.
    #[error("the pod is not captured: {0}")]
    NotInjected(String),
}
