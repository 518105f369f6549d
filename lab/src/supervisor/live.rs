//! A running lab: its namespaces, its processes, and what was last read of its counters.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use hoplab_proxies::{
    record::{Owner, Record, Role},
    wire::{CallOutcome, Command, Line},
};

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
    unistd::Pid,
};

use super::{
    held::{EndKey, HeldConnection},
    logs::LogFile,
    observers::PodWatch,
    quiet,
};
use crate::{
    evidence::{ConntrackEntry, Loss, Observer, ProcessUp},
    failure::{Class, Failure},
    net::Namespace,
    netfilter::{ConntrackWatch, RuleTool as Tool},
    plan::{NODE, Plan},
    process::{Exit, Input, ProcessError, Report, Sink, Spawned, Stub},
    rules::{CounterSnapshot, Family, RuleSet, Written},
    traced::{PodTrace, Tracing},
};

/// Lines of standard error kept per process.
const STDERR_LINES: usize = 500;

/// A running lab.
pub(super) struct Live {
    /// What holds the rules in the pods. A pod never sees another one.
    pub tool: Tool,
    /// Families with rules.
    pub families: Vec<Family>,
    pub node: Namespace,
    pub pods: BTreeMap<String, LivePod>,
    pub stubs: Vec<LiveStub>,
    pub sink: Sink,
    /// Records that no window has taken yet.
    pub records: Vec<Record>,
    /// Ends of calls that nobody has taken yet.
    pub replies: BTreeMap<u64, CallOutcome>,
    pub next_call: u64,
    /// Processes that have not answered yet to the last [`Live::ask_all`], and its number.
    pub unsynced: (u64, usize),
    /// Connections that flows hold open, by name.
    pub held: BTreeMap<String, HeldConnection>,
    /// Records of those, which no window has taken yet.
    pub of_held: Vec<Record>,
    /// Ends of connections that were released just now.
    pub released: BTreeSet<EndKey>,
    /// What stands: the plan it was built by, with what was changed since. The rules of each pod are with the pod.
    pub plan: Plan,
    /// First process that ended, or wrote nonsense, without being asked to.
    pub broken: Option<ProcessError>,
    /// How much is traced.
    pub tracing: Tracing,
    /// Bytes that each socket of an observer may hold of what nobody has read yet; none: the usual.
    pub event_room: Option<usize>,
    /// It outlives the command that brought it up: observers are there only while a flow is sent.
    pub is_kept: bool,
}

/// A pod of a running lab.
pub(super) struct LivePod {
    pub namespace: Namespace,
    pub intercepted: bool,
    /// Counters at the end of the last window that watched this pod.
    pub counters: Vec<CounterSnapshot>,
    /// Every conntrack entry since the rules were applied; none in a pod without rules, where conntrack sleeps.
    pub conntrack: Option<ConntrackWatch>,
    /// Rules that the kernel held when they were last read. Legacy iptables only, whose trace tells no more than places.
    pub legacy: Vec<RuleSet>,
    /// None while nothing is traced.
    pub trace: Option<PodWatch>,
    /// What the kernel held when the lab had applied the rules of its file; none without rules.
    pub applied: Option<Written>,
}

/// A process of a running lab.
pub(super) struct LiveStub {
    pub name: String,
    pub pod: Option<String>,
    pub role: Role,
    /// A step asked it to end.
    pub stopped: bool,
    /// None once it was asked to end.
    pub input: Option<Input>,
    pub ready: Option<ProcessUp>,
    pub exit: Option<Exit>,
    pub stderr: VecDeque<String>,
    /// What people can read of it.
    log: LogFile,
}

impl LiveStub {
    pub fn new(name: String, pod: Option<String>, role: Role) -> Self {
        Self {
            name,
            pod,
            role,
            stopped: false,
            input: None,
            ready: None,
            exit: None,
            stderr: VecDeque::new(),
            log: LogFile::default(),
        }
    }

    /// Senders come and go, and a flow says what became of them.
    fn write_log(&mut self, what: &Spawned) {
        if self.role != Role::Probe {
            let pod = self.pod.as_deref().unwrap_or("node");
            self.log.take(pod, self.role.name(), what);
        }
    }

    /// True once the process has ended, whether or not that was reported yet. Looks without reaping: the thread that
    /// reads its output does that.
    pub fn has_died(&self) -> bool {
        let Some(pid) = self.input.as_ref().and_then(|i| i32::try_from(i.pid).ok()) else {
            return false;
        };
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(Pid::from_raw(pid)), peek) {
            Ok(status) => status != WaitStatus::StillAlive,
            Err(errno) => errno == Errno::ECHILD,
        }
    }

    /// Last words, for an error.
    pub fn last_words(&self) -> String {
        let skip = self.stderr.len().saturating_sub(20);
        let lines: Vec<&str> = self.stderr.iter().skip(skip).map(String::as_str).collect();
        lines.join("\n")
    }
}

/// What conntrack made since it was last asked.
#[derive(Default)]
pub(super) struct NewEntries {
    pub entries: BTreeMap<String, Vec<ConntrackEntry>>,
    /// What was lost.
    pub lost: Vec<Loss>,
}

impl Live {
    /// Files a report; nothing is ever dropped.
    pub fn take_report(&mut self, report: Report) {
        if let Some(stub) = self.stubs.get_mut(report.stub) {
            stub.write_log(&report.what);
        }
        if let Spawned::Line(Line::Record(record)) = &report.what
            && self.is_of_held(record)
        {
            self.of_held.push(record.clone());
            self.has_closed(record);
            return;
        }
        let Some(stub) = self.stubs.get_mut(report.stub) else {
            return;
        };
        match report.what {
            Spawned::Line(Line::Record(record)) => self.records.push(record),
            Spawned::Line(Line::Reply { id, outcome }) => {
                self.replies.insert(id, outcome);
            }
            Spawned::Line(Line::Ready {
                listeners,
                pid,
                owner,
            }) => {
                stub.ready = Some(ready(stub.role, listeners, pid, owner));
            }
            Spawned::Line(Line::Synced { id }) => {
                if id == self.unsynced.0 {
                    self.unsynced.1 = self.unsynced.1.saturating_sub(1);
                }
            }
            Spawned::Garbled(line) => {
                let name = stub.name.clone();
                self.broken
                    .get_or_insert(ProcessError::Garbled { name, line });
            }
            Spawned::Stderr(line) => {
                if stub.stderr.len() == STDERR_LINES {
                    stub.stderr.pop_front();
                }
                stub.stderr.push_back(line);
            }
            Spawned::Exit(exit) => {
                if stub.input.take().is_some() {
                    let error = ProcessError::Ended {
                        name: stub.name.clone(),
                        status: exit.0.clone(),
                        stderr: stub.last_words(),
                    };
                    self.broken.get_or_insert(error);
                }
                stub.exit = Some(exit);
            }
        }
    }

    /// Asks every process to hand over what it has; `unsynced` counts the answers to come.
    pub fn ask_all(&mut self) {
        let id = self.unsynced.0 + 1;
        let inputs = self.stubs.iter_mut().filter_map(|s| s.input.as_mut());
        let asked = inputs
            .filter_map(|i| i.send(&Command::Sync { id }).ok())
            .count();
        self.unsynced = (id, asked);
    }

    /// The stub that plays a role in a pod.
    pub fn stub_of(&self, pod: &str, role: Role) -> Option<Stub> {
        let pod = (pod != NODE).then_some(pod);
        self.stubs
            .iter()
            .position(|s| s.role == role && !s.stopped && s.pod.as_deref() == pod)
    }

    /// Waits until conntrack in every pod with rules holds the flow's TCP connections for over, and says which it does
    /// not by the deadline. Lost events are told by [`Self::conntrack`].
    pub fn wait_for_conntrack(&mut self, deadline: Instant) -> Result<Vec<String>, Failure> {
        let sources = quiet::sources(&self.records);
        let mut words = Vec::new();
        for (name, pod) in &mut self.pods {
            let Some(watch) = &mut pod.conntrack else {
                continue;
            };
            match watch.wait_for_end(&sources, deadline) {
                Ok(open) => words.extend(open.iter().map(|source| {
                    format!("for conntrack of {name} the connection from {source} is not over")
                })),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(words)
    }

    /// conntrack entries of every pod with rules since the last call.
    pub fn conntrack(&mut self) -> Result<NewEntries, Failure> {
        let NewEntries {
            mut entries,
            mut lost,
        } = NewEntries::default();
        for (name, pod) in &mut self.pods {
            let Some(watch) = &mut pod.conntrack else {
                continue;
            };
            entries.insert(name.clone(), watch.take()?);
            match watch.newly_lost() {
                0 => {}
                events => lost.push(Loss {
                    of: Observer::Conntrack,
                    pod: name.clone(),
                    what: format!("{events} messages dropped by the kernel (ENOBUFS)"),
                }),
            }
        }
        Ok(NewEntries { entries, lost })
    }

    /// Makes room for more of a trace where a flow may not find enough.
    pub fn make_room(&mut self) -> Result<(), Failure> {
        for watch in self.pods.values_mut().filter_map(|pod| pod.trace.as_mut()) {
            watch.make_room()?;
        }
        Ok(())
    }

    /// Packets traced in every pod since the last call, and what was lost.
    pub fn traces(&mut self) -> Result<(BTreeMap<String, PodTrace>, Vec<Loss>), Failure> {
        let (mut traces, mut lost) = (BTreeMap::new(), Vec::new());
        for (name, pod) in &mut self.pods {
            if let Some(watch) = &mut pod.trace {
                let (trace, words) = watch.take()?;
                traces.insert(name.clone(), trace);
                lost.extend(words.map(|what| Loss {
                    of: Observer::Trace,
                    pod: name.clone(),
                    what,
                }));
            }
        }
        Ok((traces, lost))
    }

    /// That a process ended by itself is no news any more: it was asked to be ended, or started anew.
    pub fn forgive(&mut self, stub: Stub) {
        let name = &self.stubs[stub].name;
        let is_of_it =
            |it: &ProcessError| matches!(it, ProcessError::Ended { name: of, .. } if of == name);
        if self.broken.as_ref().is_some_and(is_of_it) {
            self.broken = None;
        }
    }

    /// The first thing that went wrong with a process, if one did.
    pub fn check_processes(&mut self) -> Result<(), Failure> {
        match self.broken.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

fn ready(role: Role, listeners: Vec<std::net::SocketAddr>, pid: u32, owner: Owner) -> ProcessUp {
    ProcessUp {
        role,
        pid,
        owner,
        listeners,
    }
}

/// A pod that the lab does not have.
pub(super) fn no_such_pod(name: &str) -> Failure {
    Failure::new(Class::State, format!("the running lab has no pod `{name}`"))
}
