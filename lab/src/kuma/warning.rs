//! What Kuma gives up, ignores, or does though a person may not expect it.

use thiserror::Error;

use crate::rules::Family;

/// One surprise in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Warning {
    /// Listed DNS, but none of the servers is of this family.
    #[error("{0}: DNS is not captured: resolv.conf names no server of this family")]
    NoDnsServer(Family),
    /// No zones where they were meant.
    #[error(
        "{family}: the proxy's DNS shares conntrack's zone with the pod's, since {why}: a source port that both use at once loses an answer"
    )]
    NoZones {
        /// The family.
        family: Family,
        /// What is missing.
        why: &'static str,
    },
    /// Kuma says nothing here.
    #[error("invalid packets are not dropped: there is no mangle table, and Kuma says nothing")]
    InvalidNotDropped,
    /// An include list wins.
    #[error("--exclude-inbound-ports is without effect: ports to include are given")]
    InboundExclusionsIgnored,
    /// The direction is off.
    #[error("{0} is off: what else is said of its ports and addresses is without effect")]
    DirectionOff(&'static str),
    /// Both kinds of DNS capture.
    #[error("--redirect-dns is without effect: --redirect-all-dns-traffic takes all of it")]
    AllDnsWins,
    /// Interfaces send DNS to a port where nobody listens.
    #[error("DNS that comes in by {0} goes to port {1} though DNS capture is off")]
    VnetWithoutDns(String, u16),
    /// The jump comes first.
    #[error(
        "the outbound jump is inserted ahead of the RETURN for TCP to port 53: DNS over TCP is captured like any other traffic"
    )]
    InsertTakesTcpDns,
    /// The text alone does not load.
    #[error("{0}: the rules load only where nat holds a chain DOCKER_OUTPUT")]
    NeedsDockerOutput(Family),
}
