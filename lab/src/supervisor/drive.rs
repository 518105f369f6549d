//! Sends one flow and collects what was observed of it.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use hoplab_proxies::{
    record::Role,
    wire::{CallOutcome, Command, Part, StubConfig},
};

use super::{
    Event,
    held::HeldConnection,
    live::{Live, LiveStub, no_such_pod},
    observers::complete,
    phase,
    quiet::{State, state},
    up::micros,
};
use crate::{
    evidence::{Quiet, Window},
    failure::{Class, Failure},
    plan::ProcessPlan,
    process::{self, ProcessError, Stub},
    sandbox::protocol::Order,
    topology::{Ask, NODE, Sender},
};

pub(super) fn drive(
    live: &mut Live,
    order: Order,
    queue: &Receiver<Event>,
) -> Result<Window, Failure> {
    let window = live.observe().and_then(|()| send(live, order, queue));
    if live.is_kept {
        live.stop_observing();
    }
    window
}

fn send(live: &mut Live, order: Order, queue: &Receiver<Event>) -> Result<Window, Failure> {
    let stub = sender_of(live, &order)?;
    phase("flow");
    phase(&format!("flow {}", order.flow));
    let started = Instant::now();
    let deadline = started + Duration::from_millis(order.deadline_ms);
    let id = live.next_call;
    live.next_call += 1;
    let call = command(id, &order);
    if let Some(input) = &mut live.stubs[stub].input {
        // A broken pipe is told by the exit report, with the process's last words.
        let _ = input.send(&call);
    }
    let stays_open = order.connection.hold.is_some() || order.connection.resume.is_some();
    let collected = collect(live, id, deadline, queue, stays_open);
    let (outcome, mut quiet) = collected.inspect_err(|_| call_off(live, stub, id))?;
    if quiet == Quiet::Closed && !stays_open {
        // Rules outside nat count every packet: the last of them must have passed before counters are read.
        let open = live.wait_for_conntrack(deadline)?;
        if !open.is_empty() {
            quiet = Quiet::Deadline(open);
        }
    }
    let took_us = micros(started.elapsed());
    tracing::debug!(flow = order.flow, ?outcome, ?quiet, took_us, "flow is over");
    name_the_dead(live, deadline, queue)?;
    if let Some(name) = &order.connection.hold {
        let held = HeldConnection::left_by(stub, &live.records);
        live.held.insert(name.clone(), held);
    }
    if matches!(order.sender, Sender::As { .. }) && !live.holds(stub) {
        dismiss(live, stub, deadline, queue)?;
    }
    let records = std::mem::take(&mut live.records);
    let of_held = std::mem::take(&mut live.of_held);
    let named = order.connection.source_port.is_some();
    for watch in live
        .pods
        .values_mut()
        .filter_map(|pod| pod.conntrack.as_mut())
    {
        watch.keep_udp(named);
    }
    let mut fresh = live.conntrack()?;
    let mut watch: BTreeSet<String> = order.watch.into_iter().collect();
    watch.extend(records.iter().map(|r| r.pod.clone()));
    // Its rules are asked of what goes nowhere, too, which makes no entry.
    let node = live.pods.keys().filter(|it| *it == NODE);
    watch.extend(node.cloned());
    let busy = fresh
        .entries
        .iter()
        .filter(|(_, entries)| !entries.is_empty());
    watch.extend(busy.map(|(pod, _)| pod.clone()));
    let watch: Vec<String> = watch.into_iter().collect();
    let reading = live.begin_counters(&watch, &[order.family]);
    let (mut traces, lost) = live.traces()?;
    complete(&mut traces, &fresh.entries);
    fresh.lost.extend(lost);
    // A packet that is dropped before conntrack sees it is in no log and no entry, but in the trace.
    let traced = traces.iter().filter(|(_, it)| !it.packets.is_empty());
    let more = traced
        .map(|(pod, _)| pod)
        .filter(|pod| !watch.contains(pod));
    let more: Vec<String> = more.cloned().collect();
    let more = live.begin_counters(&more, &[order.family]);
    let mut read = reading.wait()?;
    read.extend(more.wait()?);
    let counters = live.window_counters(read, order.family);
    Ok(Window {
        flow: order.flow,
        family: order.family,
        to: order.to,
        request_id: order.request_id,
        outcome,
        records,
        of_held,
        counters,
        conntrack: fresh.entries,
        traces,
        lost: fresh.lost,
        quiet,
        took_us,
    })
}

/// Nobody waits for the answer any more: a process that lives on drops the call, one that was started for it ends.
fn call_off(live: &mut Live, stub: Stub, id: u64) {
    let stub = &mut live.stubs[stub];
    if stub.role == Role::Probe {
        stub.input = None;
    } else if let Some(input) = &mut stub.input {
        // A broken pipe is told by the exit report.
        let _ = input.send(&Command::Cancel { id });
    }
}

fn command(id: u64, order: &Order) -> Command {
    let to = order.to;
    let timeout_ms = order.give_up_ms.unwrap_or(order.deadline_ms);
    let request_id = order.request_id.clone();
    if let (Some(held), Ask::Get { path }) = (&order.connection.resume, &order.ask) {
        return Command::Resume {
            id,
            held: held.clone(),
            host: order.host.clone(),
            path: path.clone(),
            request_id,
            timeout_ms,
        };
    }
    match &order.ask {
        Ask::Get { path } => Command::Call {
            source_port: order.connection.source_port,
            source: order.source,
            hold: order.connection.hold.clone(),
            id,
            to,
            host: order.host.clone(),
            path: path.clone(),
            request_id,
            timeout_ms,
        },
        Ask::Lookup { name, transport } => Command::Lookup {
            source_port: order.connection.source_port,
            id,
            to,
            transport: *transport,
            name: name.clone(),
            request_id,
            timeout_ms,
        },
    }
}

/// The process that sends: one that runs, or a probe started for this flow.
fn sender_of(live: &mut Live, order: &Order) -> Result<Stub, Failure> {
    if let Some(name) = &order.connection.resume {
        let held = live.held.get(name).map(|it| it.stub);
        let what = || Failure::new(Class::State, format!("no connection `{name}` is held"));
        return held.ok_or_else(what);
    }
    let role = match order.sender {
        Sender::App => Role::App,
        Sender::Proxy => Role::Proxy,
        Sender::As { uid, gid, group } => {
            let groups = group.into_iter().collect();
            return start_probe(live, order.pod.as_deref(), (uid, gid), groups);
        }
    };
    let pod = order.pod.as_deref().unwrap_or("node");
    live.stub_of(pod, role).ok_or_else(|| no_such_pod(pod))
}

fn start_probe(
    live: &mut Live,
    pod: Option<&str>,
    (uid, gid): (u32, u32),
    groups: Vec<u32>,
) -> Result<Stub, Failure> {
    let name = pod.unwrap_or("node");
    let plan = ProcessPlan {
        uid,
        gid,
        groups,
        net_admin: false,
        config: StubConfig {
            pod: name.to_string(),
            part: Part::Probe,
        },
    };
    let stub = live.stubs.len();
    let label = plan.name();
    live.stubs
        .push(LiveStub::new(label, pod.map(str::to_string), Role::Probe));
    let namespace = match pod {
        None => &live.node,
        Some(pod) => {
            &live
                .pods
                .get(pod)
                .ok_or_else(|| no_such_pod(pod))?
                .namespace
        }
    };
    let sink = std::sync::Arc::clone(&live.sink);
    let input = namespace
        .job(move |_| process::spawn(&plan, stub, &sink))
        .wait()??;
    live.stubs[stub].input = Some(input);
    Ok(stub)
}

/// Waits for the reply, then until the logs show everything closed.
fn collect(
    live: &mut Live,
    id: u64,
    deadline: Instant,
    queue: &Receiver<Event>,
    stays_open: bool,
) -> Result<(CallOutcome, Quiet), Failure> {
    // Records there were when every process was asked for more.
    let mut asked_at = None;
    loop {
        // All that has arrived is judged at once; under a flood the deadline still ends the window.
        while Instant::now() < deadline {
            match queue.try_recv() {
                Ok(event) => take(live, event)?,
                Err(_) => break,
            }
        }
        live.check_processes()?;
        live.make_room()?;
        let replied = live.replies.contains_key(&id);
        let open = match state(&live.records, stays_open) {
            State::Open(words) => words,
            State::OverIfAsked => {
                match asked_at {
                    Some(count)
                        if count == live.records.len() && live.unsynced.1 == 0 && replied =>
                    {
                        return Ok((take_reply(live, id), Quiet::Closed));
                    }
                    Some(count) if count == live.records.len() => {}
                    _ => {
                        asked_at = Some(live.records.len());
                        live.ask_all();
                    }
                }
                vec!["records that processes may still have".to_string()]
            }
            State::Over if replied => return Ok((take_reply(live, id), Quiet::Closed)),
            State::Over => vec!["the sender has not reported an end".to_string()],
        };
        let rest = deadline.saturating_duration_since(Instant::now());
        // Nothing left is checked here: a queue that is never empty would never time out.
        if rest.is_zero() {
            return Ok((take_reply(live, id), Quiet::Deadline(open)));
        }
        match queue.recv_timeout(rest) {
            Ok(event) => take(live, event)?,
            Err(RecvTimeoutError::Disconnected) => return Err(told_to_stop()),
            Err(RecvTimeoutError::Timeout) => {
                return Ok((take_reply(live, id), Quiet::Deadline(open)));
            }
        }
    }
}

fn take(live: &mut Live, event: Event) -> Result<(), Failure> {
    match event {
        Event::Report(report) => live.take_report(*report),
        Event::Request(_) => {}
        Event::Stop | Event::Orphaned | Event::Left => return Err(told_to_stop()),
    }
    Ok(())
}

fn told_to_stop() -> Failure {
    Failure::new(Class::State, "the lab was told to stop during a flow")
}

/// A process that died during the flow is the flow's failure, not the next one's: its exit report may still be on
/// its way.
fn name_the_dead(
    live: &mut Live,
    deadline: Instant,
    queue: &Receiver<Event>,
) -> Result<(), Failure> {
    let deadline = deadline.max(Instant::now() + Duration::from_secs(1));
    while live.stubs.iter().any(|s| s.exit.is_none() && s.has_died()) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(report)) => live.take_report(*report),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    live.check_processes()
}

/// What the sender got; nothing in time is a timeout.
fn take_reply(live: &mut Live, id: u64) -> CallOutcome {
    live.replies.remove(&id).unwrap_or(CallOutcome::Timeout)
}

/// Ends a probe and waits for its end, so that nothing of it reaches into the next window.
pub(super) fn dismiss(
    live: &mut Live,
    stub: Stub,
    deadline: Instant,
    queue: &Receiver<Event>,
) -> Result<(), Failure> {
    live.stubs[stub].input = None;
    // The deadline of the flow may have passed already; the end of a process is quick.
    let deadline = deadline.max(Instant::now() + Duration::from_secs(1));
    while live.stubs[stub].exit.is_none() {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(report)) => live.take_report(*report),
            Ok(_) => {}
            Err(_) => {
                let stub = &live.stubs[stub];
                return Err(ProcessError::Ended {
                    name: stub.name.clone(),
                    status: "it did not end when its input did".into(),
                    stderr: stub.last_words(),
                }
                .into());
            }
        }
    }
    Ok(())
}
