//! Takes a lab down in order, goes on after an error, and looks whether anything is left.

use std::{
    collections::BTreeMap,
    sync::mpsc::Receiver,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Event, live::Live, phase, up::micros};
use crate::{evidence::Down, sandbox::RUN_DIR, topology::NODE};

/// Time for processes to end by themselves, then again after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn down(mut live: Live, queue: &Receiver<Event>) -> Down {
    let started = Instant::now();
    let mut leftovers = Vec::new();
    let pids: BTreeMap<usize, u32> = live
        .stubs
        .iter()
        .enumerate()
        .filter_map(|(i, s)| Some((i, s.input.as_ref()?.pid)))
        .collect();
    for stub in &mut live.stubs {
        stub.input = None;
    }
    phase("down");
    let observers = remove_observers(&mut live);
    let alive = |live: &Live| -> Vec<usize> {
        pids.keys()
            .copied()
            .filter(|&i| live.stubs[i].exit.is_none())
            .collect()
    };
    wait(&mut live, queue, |live| alive(live).is_empty());
    let stubborn = alive(&live);
    for i in &stubborn {
        let pid = i32::try_from(pids[i]).unwrap_or(i32::MAX);
        if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL) {
            leftovers.push(format!(
                "could not kill the {}: {error}",
                live.stubs[*i].name
            ));
        }
    }
    wait(&mut live, queue, |live| alive(live).is_empty());
    for i in alive(&live) {
        leftovers.push(format!(
            "the {} is still there after SIGKILL",
            live.stubs[i].name
        ));
    }
    let killed: Vec<String> = stubborn
        .iter()
        .map(|&i| live.stubs[i].name.clone())
        .collect();
    let stderr = live
        .stubs
        .iter()
        .filter(|s| !s.stderr.is_empty())
        .map(|s| (s.name.clone(), s.stderr.iter().cloned().collect()))
        .collect();
    for thread in observers {
        if thread.join().is_err() {
            leftovers.push("a thread that removed observers panicked".to_owned());
        }
    }
    let mut namespaces = 0;
    let pods = std::mem::take(&mut live.pods);
    for (name, pod) in pods {
        match pod.namespace.remove() {
            Ok(()) => namespaces += usize::from(name != NODE),
            Err(error) => leftovers.push(format!("namespace of {name}: {error}")),
        }
    }
    leftovers.extend(remaining_namespaces());
    dismiss_guests();
    leftovers.extend(remaining_processes());
    if let Err(error) = live.node.remove() {
        leftovers.push(format!("the node: {error}"));
    }
    Down {
        stopped: pids.len() - killed.len(),
        killed,
        namespaces,
        stderr,
        leftovers,
        took_us: micros(started.elapsed()),
    }
}

/// Each takes the kernel some milliseconds, which it spends waiting: all at once, while the processes end.
fn remove_observers(live: &mut Live) -> Vec<JoinHandle<()>> {
    let watches = live.pods.values_mut().filter_map(|pod| pod.trace.take());
    watches
        .map(|watch| thread::spawn(move || drop(watch)))
        .collect()
}

fn wait(live: &mut Live, queue: &Receiver<Event>, done: impl Fn(&Live) -> bool) {
    let deadline = Instant::now() + GRACE;
    while !done(live) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(report)) => live.take_report(*report),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn remaining_namespaces() -> Vec<String> {
    let names = std::fs::read_dir(format!("{RUN_DIR}/netns"));
    names
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            format!(
                "namespace {} is still there",
                entry.file_name().to_string_lossy()
            )
        })
        .collect()
}

/// Every process of the PID namespace but this one.
fn remaining_processes() -> Vec<String> {
    let there = processes().filter(|pid| !is_guest(*pid));
    there
        .map(|pid| format!("process {pid} is still there"))
        .collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != 1)
}

/// Commands that people run in pods end with the lab.
fn dismiss_guests() {
    for pid in processes().filter(|pid| is_guest(*pid)) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// True of a process that came in from outside of the lab, or that such a one started: no parent of it is this one. Its
/// parent outside waits for it.
fn is_guest(pid: i32) -> bool {
    let parent = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line?.trim().parse::<i32>().ok()
    };
    let mut pid = pid;
    loop {
        match parent(pid) {
            // No parent in here.
            Some(0) => return true,
            Some(1) | None => return false,
            Some(parent) => pid = parent,
        }
    }
}
