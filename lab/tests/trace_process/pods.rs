//! A pod of a running lab, by its name.

use super::command::{Running, runtime::Runtime};

const LAB: &str = r#"name = "traced"

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
"#;

#[test]
fn a_pod_of_a_running_lab_is_traced_by_its_name() {
    let runtime = Runtime::new();
    let file = runtime.file("traced.toml", LAB);
    runtime.output(&["up", &file]);
    let unknown = runtime.done(&["trace", "caled"]);
    unknown.failed_with(2, &["lab `traced` has no pod `caled`", "called"]);

    let args = ["trace", "called", "--lab", "traced", "--count", "2"];
    let mut trace = Running::start(&mut runtime.hoplab(&args));
    trace.says("tracing net:[");
    let mut lab = runtime
        .find("traced")
        .attach()
        .expect("nobody else is here");
    lab.drive("call").expect("it is sent");
    drop(lab);
    let ended = trace.ended();
    ended.failed_with(0, &[]);
    // The client's connection, and the proxy's to the app.
    for wanted in [
        "#1 tcp 10.77.0.10:",
        "nat ISTIO_IN_REDIRECT 1         -p tcp -j REDIRECT --to-ports 15006",
        "#2 tcp 127.0.0.6:",
        "nat ISTIO_OUTPUT 1              -s 127.0.0.6/32 -o lo -j RETURN",
        "from uid 1337 gid 1337, over lo",
    ] {
        assert!(ended.stdout.contains(wanted), "{wanted}:\n{}", ended.stdout);
    }

    let mut trace = Running::start(&mut runtime.hoplab(&["trace", "called"]));
    trace.says("tracing net:[");
    runtime.down("traced");
    trace
        .ended()
        .failed_with(0, &["pod `called` of lab `traced` has ended"]);
    let nothing = runtime.done(&["trace", "called"]);
    nothing.failed_with(4, &["no lab is up"]);
}
