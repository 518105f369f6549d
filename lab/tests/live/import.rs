//! A copy of a container as a pod: here of a pod of another lab, which is a namespace with a process like any other.

use rstest::rstest;

use super::command::runtime::Runtime;

const SMALL: &str = super::SMALL;

#[rstest]
#[case::nft("nft", "iptables-nft-save")]
#[case::legacy("legacy", "iptables-legacy-save")]
fn a_container_is_copied_into_a_lab_of_its_own_and_stays_as_it_is(
    #[case] backend: &str,
    #[case] save: &str,
) {
    let runtime = Runtime::new();
    let file = runtime.file(
        "small.toml",
        &SMALL.replace("app = { port = 9080 }\n", "app = { port = 8081 }\n"),
    );
    runtime.output(&["up", &file, "--backend", backend]);
    let inside = |lab: &str, pod: &str, script: &str| {
        let args = [
            "exec", pod, "--lab", lab, "--as", "root", "--", "sh", "-c", script,
        ];
        runtime.output(&args)
    };
    inside(
        "small",
        "called",
        "ip link add net1 type dummy && ip addr add 192.168.7.5/24 dev net1",
    );
    let rules = |lab: &str, pod: &str| {
        let text = inside(lab, pod, &format!("{save} -t nat"));
        let kept = text.lines().filter(|it| !it.starts_with(['#', ':']));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = rules("small", "called");
    assert!(before.len() > 10, "{before:#?}");
    let status: serde_json::Value =
        serde_json::from_str(&runtime.output(&["status", "small", "--json"])).expect("JSON");
    let pid = &status["pods"][1]["processes"][0]["pid"];
    let of_copy = runtime.file("copy.toml", "");
    let source = format!("pid:{pid}");
    let args = ["import", &source, "--name", "its-copy", "--file", &of_copy];
    let told = runtime.done(&args);
    if !nix::unistd::Uid::effective().is_root() {
        // The lab's user namespace owns it, and who enters that can't bring up a lab from there.
        told.failed_with(3, &["could not enter the network namespace of process"]);
        runtime.down("small");
        return runtime.assert_empty();
    }
    told.failed_with(0, &["the interface net1 (192.168.7.5/24) is not copied"]);
    assert!(
        told.stdout
            .starts_with("its-copy is up: 2 pods, 1 of them with a sidecar"),
        "{told:#?}"
    );

    assert_eq!(rules("its-copy", "copy"), before);
    let addresses = |lab: &str, pod: &str| {
        inside(
            lab,
            pod,
            "ip -o addr show dev eth0 | awk '{ print $2, $3, $4 }' | grep -v fe80",
        )
    };
    assert_eq!(addresses("its-copy", "copy"), addresses("small", "called"));
    let sent = runtime.output(&["send", "peer", "copy:8081", "--lab", "its-copy"]);
    assert!(sent.contains("answered 200"), "{sent}");
    assert!(
        sent.contains("destination 10.77.0.11:8081 → 10.77.0.11:15006"),
        "{sent}"
    );
    // The file that was written is the lab.
    let again = [
        "up",
        &of_copy,
        "--name",
        "its-copy",
        "--backend",
        backend,
        "--expect",
        "rules",
    ];
    assert_eq!(runtime.output(&again), "its-copy is as its file says\n");
    assert_eq!(rules("small", "called"), before, "the original");
    runtime.down("its-copy");
    runtime.down("small");
    runtime.assert_empty();
}

#[test]
fn what_is_no_process_or_has_no_rules_cannot_be_copied() {
    let runtime = Runtime::new();
    runtime
        .done(&["import", "some.rules"])
        .failed_with(2, &["some.rules is no process", "pid:4711"]);
    runtime
        .done(&["import", "pid:4194304"])
        .failed_with(2, &["there is no process 4194304"]);
    runtime.assert_empty();
}
