//! A pod of a running lab, by its name.

use super::command::{Running, SMALL, runtime::Runtime};

#[test]
fn a_pod_of_a_running_lab_is_traced_by_its_name() {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", SMALL);
    runtime.output(&["up", &file]);
    let unknown = runtime.done(&["trace", "caled"]);
    unknown.failed_with(2, &["lab `small` has no pod `caled`", "called"]);

    let args = ["trace", "called", "--lab", "small", "--count", "2"];
    let mut trace = Running::start(&mut runtime.hoplab(&args));
    trace.says("tracing net:[");
    let mut lab = runtime.find("small").attach().expect("nobody else is here");
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
    runtime.down("small");
    trace
        .ended()
        .failed_with(0, &["pod `called` of lab `small` has ended"]);
    let nothing = runtime.done(&["trace", "called"]);
    nothing.failed_with(4, &["no lab is up"]);
}
