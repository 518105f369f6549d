//! Which file plays which scenario and which incident of the field, and that each of them can turn red.

use std::path::Path;

use hoplab_scenarios::LabFile;
use libtest_mimic::Failed;

/// The scenarios: name, and what plays it, from the root of the repository. A lab file says its number in `about`.
const SCENARIOS: [(&str, &[&str]); 25] = [
    ("mesh call", &["scenarios/labs/mesh-call.toml"]),
    ("inbound default", &["scenarios/labs/inbound-default.toml"]),
    (
        "outbound default",
        &["scenarios/labs/outbound-default.toml"],
    ),
    ("loop guard", &["scenarios/labs/loop-guard.toml"]),
    (
        "self-call via proxy",
        &["scenarios/labs/self-call-via-proxy.toml"],
    ),
    ("local bypass", &["scenarios/labs/local-bypass.toml"]),
    (
        "inbound exclusions",
        &["scenarios/labs/inbound-exclusions.toml"],
    ),
    (
        "v6 parity and v6 gap",
        &[
            "scenarios/labs/v6-parity.toml",
            "scenarios/labs/v6-gap.toml",
        ],
    ),
    (
        "exclude by port, range and user",
        &["scenarios/labs/exclude-by-option.toml"],
    ),
    (
        "include only",
        &[
            "scenarios/labs/include-only-kuma.toml",
            "scenarios/labs/include-only-linkerd.toml",
        ],
    ),
    (
        "proxy user exempt, app not",
        &["scenarios/labs/proxy-uid-exempt.toml"],
    ),
    (
        "DNS capture, UDP and TCP",
        &["scenarios/labs/dns-capture.toml"],
    ),
    ("DNS tuple reuse", &["scenarios/labs/dns-tuple-reuse.toml"]),
    ("invalid segment", &["scenarios/labs/invalid-segment.toml"]),
    (
        "held flow over a change of rules",
        &[
            "scenarios/labs/held-flow.toml",
            "scenarios/labs/held-flow-unpinned.toml",
            "scenarios/labs/held-flow-forgotten.toml",
        ],
    ),
    (
        "reinstall",
        &[
            "scenarios/labs/reinstall.toml",
            "lab/tests/rules_apply_calls.rs",
        ],
    ),
    (
        "backend matrix",
        &[
            "scenarios/labs/native-nft.toml",
            "scenarios/labs/native-nft-steps.toml",
            "lab/tests/rules_apply_calls.rs",
        ],
    ),
    ("own ports", &["scenarios/labs/own-ports.toml"]),
    (
        "proxy down",
        &[
            "scenarios/labs/proxy-down.toml",
            "scenarios/labs/proxy-restart.toml",
        ],
    ),
    (
        "same source port",
        &["scenarios/labs/same-source-port.toml"],
    ),
    ("gid semantics", &["scenarios/labs/gid-semantics.toml"]),
    (
        "interface capture",
        &[
            "scenarios/labs/interface-capture.toml",
            "scenarios/labs/interface-added.toml",
        ],
    ),
    (
        "source subnets",
        &[
            "scenarios/labs/source-subnet.toml",
            "scenarios/labs/source-subnet-kuma.toml",
        ],
    ),
    (
        "unroutable and untracked",
        &[
            "scenarios/labs/unroutable.toml",
            "scenarios/labs/no-default-route.toml",
            "scenarios/labs/untracked.toml",
        ],
    ),
    ("ambient in the pod", &["scenarios/labs/ambient.toml"]),
];

/// The incidents, each with its lab file, or else with the test that plays it.
const INCIDENTS: [(&str, Option<&str>); 20] = [
    ("dns-tuple-reuse", None),
    ("dns-reply-zone", None),
    ("invalid-reset", None),
    ("connmark-ingress", None),
    ("tproxy-self-call", None),
    // A lab's pods have one backend; this is about a pod that gets a second one.
    ("two-backends", Some("lab/tests/rules_apply_calls.rs")),
    ("v6-open", None),
    ("dns-early-return", None),
    ("vm-dns", None),
    ("init-rerun", None),
    ("tproxy-rerun", None),
    ("no-exit-rule", None),
    ("app-as-1337", None),
    ("init-before-proxy", None),
    ("port-22", None),
    ("port-include-ignored", None),
    ("self-redirect", None),
    ("port-53-tcp", None),
    ("own-pod-ip", None),
    ("root-proxy-gid", None),
];

/// Every scenario and every incident has its files.
pub fn is_complete() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for (number, (name, files)) in (1..).zip(SCENARIOS) {
        for file in files {
            match std::fs::read_to_string(root.join(file)) {
                Err(error) => missing.push(format!("scenario {number}, {name}: {file}: {error}")),
                Ok(text) if file.ends_with(".toml") && !says(&text, number) => {
                    missing.push(format!(
                        "{file} does not say that it plays scenario {number}"
                    ));
                }
                Ok(_) => {}
            }
        }
    }
    for (id, test) in INCIDENTS {
        let lab = format!("scenarios/labs/incidents/{id}.toml");
        let file = test.unwrap_or(&lab);
        match std::fs::read_to_string(root.join(file)) {
            Err(error) => missing.push(format!("incident {id}: {file}: {error}")),
            Ok(text) if test.is_none() && !text.contains("\nreports = \"") => {
                missing.push(format!("{file} names no report"));
            }
            Ok(_) => {}
        }
    }
    match missing[..] {
        [] => Ok(()),
        _ => Err(Failed::from(missing.join("\n"))),
    }
}

/// `Scenario 8:`, `Scenarios 2, 3 and 8 under TPROXY`.
fn says(text: &str, number: u32) -> bool {
    let about = text
        .lines()
        .find_map(|it| it.strip_prefix("about = \"Scenario"));
    let head = about
        .and_then(|it| it.split_once(':'))
        .map(|(head, _)| head);
    let numbers = head
        .into_iter()
        .flat_map(|it| it.split(|c: char| !c.is_ascii_digit()));
    numbers
        .filter_map(|it| it.parse::<u32>().ok())
        .any(|it| it == number)
}

/// A lab that nothing can turn red proves nothing, nor does one whose verdict names no rule.
pub fn can_turn_red(file: &LabFile) -> Result<(), Failed> {
    let mut red = file.topology.variants.iter().filter(|it| !it.holds);
    match red.any(|it| !it.flows.is_empty() && it.rule.is_some()) {
        true => Ok(()),
        false => Err(Failed::from(
            "no variant is refuted with the flow and the rule it is refuted by",
        )),
    }
}
