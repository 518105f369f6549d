//! What the lab and its stub processes say to each other.
//!
//! Standard input carries one JSON value per line: first a [`StubConfig`], then any number of
//! [`Command`]s; end of input means stop. Standard output carries one [`Line`] per line. Standard error is for
//! people (tracing).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::record::{Owner, Record, Transport};

/// First line on a stub's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StubConfig {
    /// Name of the pod it runs in.
    pub pod: String,
    /// What it plays.
    pub part: Part,
}

/// What a stub process plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The workload.
    App(AppConfig),
    /// The sidecar or gateway.
    Proxy(ProxyConfig),
    /// No listener; only sends what it is told to.
    Probe,
    /// The cluster's DNS server.
    Dns(DnsConfig),
}

/// The cluster's DNS server: port 53, UDP and TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Addresses to listen on, none of them unspecified: an answer leaves from the address that was asked.
    pub listen: Vec<SocketAddr>,
    /// Every name it knows, each once; any other does not exist.
    pub names: Vec<NameRecord>,
}

/// A name and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Without the final dot, such as `ratings.default.svc.cluster.local`.
    pub name: String,
    /// IPv4 and IPv6 addresses.
    pub addresses: Vec<IpAddr>,
}

/// The DNS proxy of a sidecar, as Istio's agent has it: answers for names of the mesh, asks upstream for others, and for
/// anything but addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsProxy {
    /// Port it listens on, UDP and TCP, on 127.0.0.1 and ::1: 15053.
    pub port: u16,
    /// Further addresses that it listens on, none of them unspecified: those that a REDIRECT leads to of what comes in from
    /// a machine behind the pod (Istio's agent: `DNS_PROXY_ADDR`).
    #[serde(default)]
    pub also: Vec<IpAddr>,
    /// Names it answers itself.
    pub names: Vec<NameRecord>,
    /// Servers it asks for any other name, over the transport it was asked over and in the family it was asked in: one
    /// after the other until one answers.
    pub upstream: Vec<SocketAddr>,
}

/// A Bookinfo workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppConfig {
    /// Service it belongs to, such as `reviews`.
    pub service: String,
    /// Ports it serves on, all addresses, IPv4 and IPv6.
    pub ports: Vec<u16>,
    /// Services it calls, in order, for every request but `/health`.
    pub calls: Vec<AppCall>,
}

/// A call an app makes while it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCall {
    /// Name to resolve, such as `ratings`.
    pub service: String,
    /// Port of the service.
    pub port: u16,
    /// Request path, such as `/ratings/0`.
    pub path: String,
}

/// Ports and routes of a stub proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConfig {
    /// Absent on a gateway, which has no interception.
    pub sidecar: Option<SidecarPorts>,
    /// Present on a gateway: a plain listener with one route.
    pub gateway: Option<GatewayRoute>,
    /// Plain HTTP health ports: 15020 and 15021.
    pub health_ports: Vec<u16>,
    /// Prometheus metrics: 15090. Absent where the proxy plays ztunnel, which has this port in a pod of its own.
    pub metrics_port: Option<u16>,
    /// Admin, loopback only: 15000. Absent where the proxy plays ztunnel.
    pub admin_port: Option<u16>,
    /// Where the proxy plays ztunnel, its HBONE listener: 15008. It takes connections and ends them, as ztunnel does with
    /// those that do not speak TLS: this proxy has no tunnel to offer.
    #[serde(default)]
    pub tunnel_port: Option<u16>,
    /// Service addresses it balances over their endpoints, in turn.
    pub services: Vec<ServiceRoute>,
    /// Present when DNS is captured.
    #[serde(default)]
    pub dns: Option<DnsProxy>,
    /// `SO_MARK` of every connection of the proxy's own (ztunnel's is 0x539), calls it is told to make among them; needs
    /// CAP_NET_ADMIN. [`SidecarPorts::tproxy_mark`]
    /// goes before it.
    #[serde(default)]
    pub upstream_mark: Option<u32>,
    /// Connections served at once; one more is closed with `OverLimit`.
    pub max_connections: usize,
}

/// Interception ports and the source address of inbound upstream connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarPorts {
    /// 15001.
    pub outbound: u16,
    /// 15006.
    pub inbound: u16,
    /// Source of inbound upstream connections: 127.0.0.6 and `::6` in Istio.
    pub inbound_source: [IpAddr; 2],
    /// In TPROXY mode and as ztunnel, the mark of inbound upstream connections, which then keep the client's source
    /// address in place of [`Self::inbound_source`]; the inbound listener is transparent.
    #[serde(default)]
    pub tproxy_mark: Option<u32>,
    /// Inbound upstream connections go to loopback, at the port that was asked for, in place of the address that was: what
    /// Linkerd's proxy did while rules turned its calls to its own pod back to it.
    #[serde(default)]
    pub app_at_loopback: bool,
}

/// What a gateway listens on and where it sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRoute {
    /// Port to listen on.
    pub port: u16,
    /// Name of the service in [`ProxyConfig::services`].
    pub service: String,
}

/// A service address and what stands behind it. One per family; each keeps its own turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRoute {
    /// Name, such as `reviews`.
    pub service: String,
    /// Virtual address and port.
    pub vip: SocketAddr,
    /// Endpoints in the order they are taken.
    pub endpoints: Vec<SocketAddr>,
}

/// What the lab asks of a running stub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Send one HTTP/1.1 GET (`Connection: close`) from this very process and answer with [`Line::Reply`].
    Call {
        /// Chosen by the caller, repeated in the reply.
        id: u64,
        /// Literal `address:port` to connect to.
        to: SocketAddr,
        /// Value of the `Host` header.
        host: String,
        /// Request path.
        path: String,
        /// Value of the `x-request-id` header.
        request_id: String,
        /// Give up after this many milliseconds.
        timeout_ms: u64,
        /// Source port; none leaves it to the kernel.
        #[serde(default)]
        source_port: Option<u16>,
        /// Source address of somebody else, as a proxy takes a client's (IP_TRANSPARENT); needs CAP_NET_ADMIN.
        #[serde(default)]
        source: Option<IpAddr>,
        /// Name under which the connection stays open after the answer; without it the connection is closed.
        #[serde(default)]
        hold: Option<String>,
    },
    /// Send another GET over a connection that is held, and answer with [`Line::Reply`].
    Resume {
        /// Chosen by the caller, repeated in the reply.
        id: u64,
        /// Name of the connection.
        held: String,
        /// Value of the `Host` header.
        host: String,
        /// Request path.
        path: String,
        /// Value of the `x-request-id` header.
        request_id: String,
        /// Give up after this many milliseconds.
        timeout_ms: u64,
    },
    /// Close a connection that is held, and answer with [`Line::Reply`] when its close record is written.
    Release {
        /// Chosen by the caller, repeated in the reply.
        id: u64,
        /// Name of the connection.
        held: String,
    },
    /// Ask a DNS server for the addresses of a name, from this very process, and answer with [`Line::Reply`].
    Lookup {
        /// Chosen by the caller, repeated in the reply.
        id: u64,
        /// Server.
        to: SocketAddr,
        /// UDP or TCP.
        transport: Transport,
        /// Name, without the final dot.
        name: String,
        /// Written to the log as the request id of the connection.
        request_id: String,
        /// Give up after this many milliseconds.
        timeout_ms: u64,
        /// Source port; none leaves it to the kernel.
        #[serde(default)]
        source_port: Option<u16>,
    },
    /// Give up on a [`Command::Call`] or [`Command::Lookup`]: its connection is closed, and there is no reply. Nothing
    /// happens when it is over.
    Cancel {
        /// Id of the command.
        id: u64,
    },
    /// Of a proxy: from now on balance over these, in place of [`ProxyConfig::services`]. Connections stay; an address whose
    /// endpoints stay keeps its turn.
    Routes {
        /// All of them.
        services: Vec<ServiceRoute>,
    },
    /// Answer with [`Line::Synced`] after every line that was handed over before.
    Sync {
        /// Chosen by the caller, repeated in the answer.
        id: u64,
    },
}

/// One line of a stub's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Every listener is bound; connections succeed from now on.
    Ready {
        /// Bound addresses; one that both TCP and UDP are bound to is named once.
        listeners: Vec<SocketAddr>,
        /// Process id in the lab's PID namespace.
        pid: u32,
        /// Identity the process runs as.
        owner: Owner,
    },
    /// A connection log record.
    Record(Record),
    /// The end of a [`Command::Call`] or a [`Command::Lookup`].
    Reply {
        /// Id of the command.
        id: u64,
        /// What came of it.
        outcome: CallOutcome,
    },
    /// The answer to a [`Command::Sync`].
    Synced {
        /// Id of the command.
        id: u64,
    },
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallOutcome {
    /// An HTTP answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Body as text.
        body: String,
    },
    /// `connect(2)` failed, or ICMP refused the datagram; symbolic errno.
    ConnectFailed(String),
    /// The connection was made and ended (or was reset) before an answer came.
    Closed(String),
    /// No answer within the time given.
    Timeout,
    /// The addresses of a name, sorted: those of the family the server was asked in.
    Resolved(Vec<IpAddr>),
    /// A DNS answer without addresses; its response code in words, such as `NXDOMAIN`.
    Unresolved(String),
}
