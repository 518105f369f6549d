//! How to enter a lab that was kept: process ids as seen from outside.

use std::fmt::Write as _;

use crate::{evidence::Evidence, rules::Holder, sandbox, topology::Topology};

/// Lines that show how to enter each pod, and how to end the lab.
pub(super) fn how_to_enter(
    name: &str,
    supervisor: i32,
    topology: &Topology,
    evidence: &Evidence,
) -> String {
    let processes = sandbox::processes(supervisor);
    let outside = |inner: u32| {
        processes
            .iter()
            .find(|(_, i)| *i == inner)
            .map(|(outer, _)| *outer)
    };
    let mut out = String::from(
        "the lab is kept; enter a pod's network by the process id of one of its processes:\n",
    );
    for pod in &evidence.up.pods {
        for process in &pod.processes {
            let Some(pid) = outside(process.pid) else {
                continue;
            };
            let role = format!("{:?}", process.role).to_lowercase();
            let _ = writeln!(
                out,
                "  {:16} {role:6} uid {:<5} nsenter -t {pid} {}-n sh",
                pod.name,
                process.owner.uid,
                if evidence.machine.root {
                    "-m "
                } else {
                    "-U -m --preserve-credentials "
                },
            );
        }
    }
    let list = match evidence.machine.backend.backend {
        Holder::Nft => "nft list ruleset (iptables would add tables of its own)".to_owned(),
        iptables => {
            format!("{iptables} -t nat -L -v (the other backend would add tables of its own)")
        }
    };
    if let Some(service) = topology.services.first() {
        let _ = writeln!(
            out,
            "names resolve there: curl http://{}:{}/",
            service.name, service.port
        );
    }
    let _ = writeln!(
        out,
        "rules and counters there: {list}\n\
         you enter as root, and the user decides what is intercepted; as an app add: -S 1000 -G 1000\n\
         end it: hoplab down {name}"
    );
    out
}
