//! Labs that outlive the command that brought them up: found by name, joined by others, and gone without a trace.

#[path = "../command/mod.rs"]
mod command;
mod ends;
mod joined;
mod registry;

/// A lab of two pods, which is up quickly.
const SMALL: &str = r#"name = "small"

[network]
bridge = "br0"
ipv4 = "10.77.0.0/24"
ipv6 = "fd77::/64"
node_ipv4 = "10.77.0.1"
node_ipv6 = "fd77::1"

[rules]
profile = "istio-1.13"

[[pod]]
name = "caller"
ipv4 = "10.77.0.10"
ipv6 = "fd77::10"
app = { port = 9080 }

[[pod]]
name = "called"
ipv4 = "10.77.0.11"
ipv6 = "fd77::11"
sidecar = true
app = { port = 9080 }

[[flow]]
name = "call"
about = "a client without a sidecar calls a pod of the mesh"
from = "caller"
to = "called:9080"
path = "/"
nat.called = ["PREROUTING 1 > ISTIO_INBOUND 5 > ISTIO_IN_REDIRECT 1", "OUTPUT 1 > ISTIO_OUTPUT 1"]

[[flow]]
name = "probe"
about = "a process on the node asks a port that is not intercepted"
from = "node"
to = "called:15021"
path = "/healthz/ready"
nat.called = ["PREROUTING 1 > ISTIO_INBOUND 3"]
"#;

/// The small lab's file below a runtime directory, and the lab up under its name.
fn small(runtime: &command::runtime::Runtime) -> String {
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file]);
    file
}
