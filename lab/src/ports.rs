//! The ports of Istio's proxy.

/// Outbound listener: everything the app opens.
pub const OUTBOUND: u16 = 15001;
/// Inbound listener: everything that comes to the pod.
pub const INBOUND: u16 = 15006;
/// Plain HTTP health and merged metrics.
pub const AGENT: u16 = 15020;
/// Readiness.
pub const READINESS: u16 = 15021;
/// Prometheus metrics of the proxy.
pub const METRICS: u16 = 15090;
/// ztunnel's listener for HBONE, and a sidecar's.
pub const TUNNEL: u16 = 15008;
/// DNS, at a server.
pub const DNS_SERVER: u16 = 53;
/// DNS listener, when DNS is captured.
pub const DNS: u16 = 15053;
/// Admin, loopback only.
pub const ADMIN: u16 = 15000;

/// All of them.
pub const PROXY: [u16; 7] = [ADMIN, OUTBOUND, INBOUND, AGENT, READINESS, DNS, METRICS];
