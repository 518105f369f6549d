//! The lasting processes of pods and node: ended, started again, and named.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use hoplab_proxies::record::Role;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Event, drive,
    live::{Live, LiveStub, no_such_pod},
};
use crate::{
    evidence::{ProcessUp, Up},
    failure::{Class, Failure},
    plan::{NODE, ProcessPlan},
    process::{self, ProcessError, Stub},
};

/// Time for one thing that is asked of a process.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Ends a process, and waits until it has ended.
pub(super) fn end(
    live: &mut Live,
    pod: &str,
    role: Role,
    queue: &Receiver<Event>,
) -> Result<(), Failure> {
    let stub = live.stub_of(pod, role).ok_or_else(|| {
        let what = format!("no {role} of pod `{pod}` runs");
        Failure::new(Class::State, what)
    })?;
    live.stubs[stub].stopped = true;
    live.forgive(stub);
    drive::dismiss(live, stub, Instant::now() + LIMIT, queue)
}

/// Ends every process of a pod that is to go; one that does not end by itself is killed.
pub(super) fn end_all(live: &mut Live, pod: &str, queue: &Receiver<Event>) -> Result<(), Failure> {
    let of_pod = |it: &(Stub, &LiveStub)| it.1.pod.as_deref() == Some(pod) && it.1.exit.is_none();
    let stubs: Vec<Stub> = live
        .stubs
        .iter()
        .enumerate()
        .filter(of_pod)
        .map(|it| it.0)
        .collect();
    let mut pids = Vec::new();
    for stub in &stubs {
        pids.push(live.stubs[*stub].input.as_ref().map(|it| it.pid));
        live.stubs[*stub].stopped = true;
        live.forgive(*stub);
        // All at once.
        live.stubs[*stub].input = None;
    }
    for (stub, pid) in stubs.into_iter().zip(pids) {
        if drive::dismiss(live, stub, Instant::now(), queue).is_ok() {
            continue;
        }
        if let Some(pid) = pid.and_then(|it| i32::try_from(it).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drive::dismiss(live, stub, Instant::now() + LIMIT, queue)?;
    }
    Ok(())
}

/// Starts a process as the plan has it, and waits until it is ready.
pub(super) fn start(
    live: &mut Live,
    pod: &str,
    role: Role,
    queue: &Receiver<Event>,
) -> Result<(), Failure> {
    if let Some(there) = live.stub_of(pod, role) {
        if live.stubs[there].exit.is_none() {
            let what = format!("{role} of pod `{pod}` runs already");
            return Err(Failure::new(Class::State, what));
        }
        // It died by itself.
        live.stubs[there].stopped = true;
        live.forgive(there);
    }
    let plan = live.plan_of(pod, role).cloned();
    let plan = plan.ok_or_else(|| no_such_pod(pod))?;
    let place = (pod != NODE).then(|| pod.to_owned());
    let namespace = match &place {
        None => &live.node,
        Some(pod) => {
            &live
                .pods
                .get(pod)
                .ok_or_else(|| no_such_pod(pod))?
                .namespace
        }
    };
    let stub = live.stubs.len();
    let sink = std::sync::Arc::clone(&live.sink);
    let named = LiveStub::new(plan.name(), place, role);
    let started = namespace.job(move |_| process::spawn(&plan, stub, &sink));
    live.stubs.push(named);
    match started.wait().map_err(Failure::from) {
        Ok(Ok(input)) => live.stubs[stub].input = Some(input),
        failed => {
            // It never was.
            live.stubs[stub].stopped = true;
            failed??;
        }
    }
    await_ready(live, &[stub], queue)
}

/// Waits until processes that were started say they are ready.
pub(super) fn await_ready(
    live: &mut Live,
    stubs: &[Stub],
    queue: &Receiver<Event>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    let is_settled = |it: &LiveStub| it.ready.is_some() || it.exit.is_some();
    until(live, queue, deadline, |live| {
        stubs.iter().all(|it| is_settled(&live.stubs[*it]))
    })?;
    // Those alone: another one that has died is no reason not to start these.
    let dead = stubs.iter().map(|it| &live.stubs[*it]);
    let dead = dead.filter_map(|it| Some((it, it.exit.as_ref()?))).next();
    let Some((stub, exit)) = dead else {
        return Ok(());
    };
    let error = ProcessError::Ended {
        name: stub.name.clone(),
        status: exit.0.clone(),
        stderr: stub.last_words(),
    };
    Err(error.into())
}

/// Takes reports until something is so.
pub(super) fn until(
    live: &mut Live,
    queue: &Receiver<Event>,
    deadline: Instant,
    is_so: impl Fn(&Live) -> bool,
) -> Result<(), Failure> {
    while !is_so(live) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(report)) => live.take_report(*report),
            Ok(Event::Stop | Event::Orphaned | Event::Left) => {
                return Err(Failure::new(
                    Class::State,
                    "the lab was told to stop meanwhile",
                ));
            }
            Ok(Event::Request(_)) => {}
            Err(_) => {
                return Err(Failure::new(
                    Class::State,
                    "what was asked of a process did not end in time",
                ));
            }
        }
    }
    Ok(())
}

impl Live {
    /// How a lasting process is started.
    pub fn plan_of(&self, pod: &str, role: Role) -> Option<&ProcessPlan> {
        let processes = match pod {
            NODE => &self.plan.node.processes,
            pod => &self.plan.pod(pod)?.processes,
        };
        processes.iter().find(|it| it.role() == role)
    }

    /// The lasting processes of a pod, or of the node, that nobody has stopped, as they came up.
    pub fn processes_of(&self, pod: Option<&str>) -> Vec<ProcessUp> {
        let stubs = self.stubs.iter().filter(|it| it.pod.as_deref() == pod);
        let lasting = stubs.filter(|it| it.role != Role::Probe && !it.stopped);
        lasting.filter_map(|it| it.ready.clone()).collect()
    }

    /// Writes down which processes run.
    pub fn name_processes(&self, up: &mut Up) {
        for pod in &mut up.pods {
            pod.processes = self.processes_of(Some(&pod.name));
        }
        up.node = self.processes_of(None);
    }

    /// That processes ended before is no news any more.
    pub fn forgive_all(&mut self) {
        if matches!(self.broken, Some(ProcessError::Ended { .. })) {
            self.broken = None;
        }
    }
}
