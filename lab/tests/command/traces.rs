//! What a lab leaves on the machine while it runs: processes, and the namespaces they are in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::wait_for;

/// As the status of a dead process says whose parent has not asked for its exit code.
const ZOMBIE: &str = "State:\tZ (zombie)";

const KINDS: [&str; 3] = ["pid", "net", "mnt"];

/// Namespaces of a lab that ran.
#[derive(Debug)]
pub struct Traces {
    supervisor: i32,
    namespaces: BTreeSet<String>,
    /// The machine's own mounts before.
    mounts: String,
}

impl Traces {
    /// Everything in the PID namespace of a supervisor.
    pub fn of(supervisor: i32) -> Self {
        let pid_namespace = namespace(supervisor, "pid").expect("the supervisor is there");
        let own: Vec<_> = KINDS
            .iter()
            .filter_map(|kind| namespace_of_self(kind))
            .collect();
        assert!(
            !own.contains(&pid_namespace),
            "it has no namespace of its own"
        );
        let all = in_use();
        let held = all.iter().filter(|(_, held)| held.contains(&pid_namespace));
        let mut namespaces: BTreeSet<String> = held.flat_map(|(_, held)| held.clone()).collect();
        namespaces.retain(|it| !own.contains(it));
        Self {
            supervisor,
            namespaces,
            mounts: mounts(),
        }
    }

    /// How many network namespaces there were.
    pub fn networks(&self) -> usize {
        let networks = self.namespaces.iter().filter(|it| it.starts_with("net:"));
        networks.count()
    }

    /// Waits until no process has any of it, and the machine has its mounts as before.
    #[track_caller]
    pub fn assert_vanish(&self) {
        let holders = || -> Vec<i32> {
            let all = in_use().into_iter();
            let held = all.filter(|(_, held)| !held.is_disjoint(&self.namespaces));
            held.map(|(pid, _)| pid).collect()
        };
        wait_for("the end of every process of the lab", || {
            (holders().is_empty() && has_ended(self.supervisor)).then_some(())
        });
        assert_eq!(mounts(), self.mounts);
    }
}

/// Whether a process is gone, or dead with its last thread: one that is dying lets go of its namespaces before that.
fn has_ended(pid: i32) -> bool {
    match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => status_has(pid, ZOMBIE) && threads.count() <= 1,
        Err(_) => true,
    }
}

/// Children of a process; a command has one, its supervisor.
pub fn children_of(parent: i32) -> impl Iterator<Item = i32> {
    let line = format!("PPid:\t{parent}");
    processes().filter(move |pid| status_has(*pid, &line))
}

fn status_has(pid: i32, line: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|it| it == line)
}

/// Processes whose environment holds `NAME=value`.
pub fn with_environment(variable: &str) -> impl Iterator<Item = i32> {
    processes().filter(move |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|it| it == variable.as_bytes())
    })
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Namespaces in use, by process; a process may have threads in several. One that is dead but whose parent (after a
/// kill, the machine's init) has not asked for its exit code yet uses none.
fn in_use() -> BTreeMap<i32, BTreeSet<String>> {
    let alive = processes().filter(|pid| !status_has(*pid, ZOMBIE));
    let with_threads = alive.map(|pid| {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let links = threads.flat_map(|thread| {
            let ns = thread.path().join("ns");
            KINDS.map(|kind| fs::read_link(ns.join(kind)).ok())
        });
        let names = links.flatten().map(|link| link.display().to_string());
        (pid, names.collect())
    });
    with_threads.collect()
}

fn namespace(pid: i32, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.display().to_string())
}

fn namespace_of_self(kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(link.display().to_string())
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc is there")
}
