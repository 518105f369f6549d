//! What a lab leaves on the machine while it runs: processes, and the namespaces they are in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::fd::AsRawFd,
    path::PathBuf,
};

use super::wait_for;

/// As the status of a dead process says whose parent has not asked for its exit code.
const ZOMBIE: &str = "State:\tZ (zombie)";

const KINDS: [&str; 3] = ["pid", "net", "mnt"];

/// Namespaces of a lab that ran.
#[derive(Debug)]
pub struct Traces {
    supervisor: i32,
    /// When it started, by which another process with its number is told apart.
    started: Option<String>,
    /// By name. Held open: the kernel gives the name of one that is gone to the next, which may be another test's.
    namespaces: BTreeMap<String, File>,
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
        let all = in_use().into_iter();
        let held = all.filter(|(_, held)| held.contains_key(&pid_namespace));
        let links = held.flat_map(|(_, held)| held);
        let others = links.filter(|(name, _)| !own.contains(name));
        // A thread may have ended, and another come in its place: the next one may be in the same namespace.
        let open = |(name, links): (String, Vec<PathBuf>)| {
            let mut files = links.iter().filter_map(|link| File::open(link).ok());
            let held = files.find(|held| named(held).as_ref() == Some(&name))?;
            Some((name, held))
        };
        let namespaces: BTreeMap<String, File> = others.filter_map(open).collect();
        assert!(namespaces.contains_key(&pid_namespace), "{namespaces:?}");
        Self {
            supervisor,
            started: started(supervisor),
            namespaces,
            mounts: mounts(),
        }
    }

    /// How many network namespaces there were.
    pub fn networks(&self) -> usize {
        let networks = self.namespaces.keys().filter(|it| it.starts_with("net:"));
        networks.count()
    }

    /// Waits until no process has any of it, and the machine has its mounts as before.
    #[track_caller]
    pub fn assert_vanish(&self) {
        let holders = || -> Vec<i32> {
            let all = in_use().into_iter();
            let held =
                all.filter(|(_, held)| held.keys().any(|it| self.namespaces.contains_key(it)));
            held.map(|(pid, _)| pid).collect()
        };
        wait_for("the end of every process of the lab", || {
            (holders().is_empty() && self.supervisor_has_ended()).then_some(())
        });
        assert_eq!(mounts(), self.mounts);
    }

    /// Whether it is gone, or dead with its last thread: one that is dying lets go of its namespaces before that.
    fn supervisor_has_ended(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.supervisor));
        let is_alone = threads.is_ok_and(|it| it.count() <= 1);
        started(self.supervisor) != self.started || status_has(self.supervisor, ZOMBIE) && is_alone
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
fn in_use() -> BTreeMap<i32, BTreeMap<String, Vec<PathBuf>>> {
    let alive = processes().filter(|pid| !status_has(*pid, ZOMBIE));
    let with_threads = alive.map(|pid| {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let links =
            threads.flat_map(|thread| KINDS.map(|kind| thread.path().join("ns").join(kind)));
        let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for link in links {
            if let Ok(name) = fs::read_link(&link) {
                let name = name.display().to_string();
                by_name.entry(name).or_default().push(link);
            }
        }
        (pid, by_name)
    });
    with_threads.collect()
}

/// The name of a namespace that is held open.
fn named(held: &File) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok()?;
    Some(link.display().to_string())
}

/// When a process started, in the kernel's words.
fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which is in brackets and may hold anything, the 20th word.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(19).map(str::to_owned)
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
