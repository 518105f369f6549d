//! Takes a step between two flows: changes rules, processes, conntrack; then the next flow starts from what is there.

use std::{collections::BTreeMap, sync::mpsc::Receiver, time::Instant};

use hoplab_proxies::{record::Role, wire::Command};

use super::{
    Event, drive, invalid,
    lasting::{self, LIMIT, until},
    live::{Live, no_such_pod},
    phase, replace,
};
use crate::{
    evidence::{Said, Up},
    failure::{Class, Failure},
    net::Inside,
    netfilter::{self, Backend, RuleTool},
    rules::Family,
    sandbox::protocol::{StepOrder, StepWhat, Stepped},
    topology::{Process, ProcessRole},
};

/// Takes a step. What it changed is read back; nothing of it is in the window of the next flow.
pub(super) fn step(
    live: &mut Live,
    order: StepOrder,
    came_up: &mut Up,
    queue: &Receiver<Event>,
) -> Result<Stepped, Failure> {
    phase("step");
    tracing::debug!(step = order.step, "takes a step");
    let mut said = Vec::new();
    match order.what {
        StepWhat::Restore { texts, flush, but } => {
            said = restore(live, &texts, flush, &but)?;
            // They know rules of legacy iptables by their places: the next flow has new ones.
            live.stop_observing();
        }
        StepWhat::Replace { pod, rules } => {
            replace::replace(live, &pod, rules)?;
            live.stop_observing();
        }
        StepWhat::Stop(it) => lasting::end(live, &it.pod, role_of(&it), queue)?,
        StepWhat::Start(it) => lasting::start(live, &it.pod, role_of(&it), queue)?,
        StepWhat::Restart(it) => {
            lasting::end(live, &it.pod, role_of(&it), queue)?;
            lasting::start(live, &it.pod, role_of(&it), queue)?;
        }
        StepWhat::Flush { pod } => {
            let watch = live.pods.get_mut(&pod).and_then(|it| it.conntrack.as_mut());
            watch.ok_or_else(|| no_such_pod(&pod))?.flush()?;
        }
        StepWhat::Release { held } => release(live, &held, queue)?,
        StepWhat::Invalid { held } => said.push(segment(live, &held)?),
    }
    live.settle(queue)?;
    let mut up = live.as_it_stands(came_up)?;
    live.name_processes(&mut up);
    *came_up = up.clone();
    Ok(Stepped { said, up })
}

/// Gives texts to iptables-restore in every pod with rules; `flush` empties the tables they name first.
fn restore(
    live: &Live,
    texts: &BTreeMap<Family, String>,
    flush: bool,
    but: &[String],
) -> Result<Vec<Said>, Failure> {
    let RuleTool::Iptables(backend) = live.tool else {
        return Err(Failure::new(
            Class::State,
            "the pods have rules of nft's own",
        ));
    };
    let mut jobs = Vec::new();
    for (name, pod) in live.pods.iter().filter(|(_, pod)| pod.intercepted) {
        if but.contains(name) {
            continue;
        }
        let (texts, pod_name) = (texts.clone(), name.clone());
        let run = move |_: &mut Inside| restore_here(backend, &texts, flush, &pod_name);
        jobs.push(pod.namespace.job(run));
    }
    let mut said = Vec::new();
    for job in jobs {
        said.extend(job.wait()??);
    }
    Ok(said)
}

/// Runs on a pod's thread.
fn restore_here(
    backend: Backend,
    texts: &BTreeMap<Family, String>,
    flush: bool,
    pod: &str,
) -> Result<Vec<Said>, netfilter::NetfilterError> {
    let one = |(family, text): (&Family, &String)| {
        let ended = netfilter::restore_step(backend, *family, text, flush, pod)?;
        Ok(Said {
            pod: pod.to_owned(),
            command: ended.command,
            ok: ended.ok,
            words: ended.stderr,
        })
    };
    texts.iter().map(one).collect()
}

fn role_of(process: &Process) -> Role {
    match process.role {
        ProcessRole::App => Role::App,
        ProcessRole::Proxy => Role::Proxy,
        ProcessRole::Dns => Role::Dns,
    }
}

/// Closes a held connection, and waits until its holder says so.
fn release(live: &mut Live, name: &str, queue: &Receiver<Event>) -> Result<(), Failure> {
    // Its records are still its own until all of them are there.
    let Some(held) = live.held.remove(name) else {
        return Err(Failure::new(
            Class::State,
            format!("no connection `{name}` is held"),
        ));
    };
    live.released.extend(held.ends);
    let id = live.next_call;
    live.next_call += 1;
    let release = Command::Release {
        id,
        held: name.to_owned(),
    };
    if let Some(input) = &mut live.stubs[held.stub].input {
        // A broken pipe is told by the exit report, with the process's last words.
        let _ = input.send(&release);
        let deadline = Instant::now() + LIMIT;
        until(live, queue, deadline, |live| {
            live.replies.contains_key(&id) || live.broken.is_some()
        })?;
        live.check_processes()?;
    }
    if live.stubs[held.stub].role == Role::Probe {
        drive::dismiss(live, held.stub, Instant::now() + LIMIT, queue)?;
    }
    Ok(())
}

/// Sends a segment outside the window of a held connection, as its client would.
fn segment(live: &Live, name: &str) -> Result<Said, Failure> {
    let failed = |why: String| {
        Failure::new(
            Class::State,
            format!("no segment could be sent on connection `{name}`"),
        )
        .cause(why)
    };
    let held = live
        .held
        .get(name)
        .ok_or_else(|| failed("it is not held".to_owned()))?;
    let stub = &live.stubs[held.stub];
    let (Some((local, remote)), Some(input)) = (held.addresses, &stub.input) else {
        return Err(failed("it was never made".to_owned()));
    };
    let numbers = invalid::numbers_of(input.pid, local, remote);
    let numbers = numbers.map_err(|error| failed(error.to_string()))?;
    let (pod, namespace) = match &stub.pod {
        None => ("node", &live.node),
        Some(pod) => match live.pods.get(pod) {
            Some(found) => (pod.as_str(), &found.namespace),
            None => return Err(no_such_pod(pod)),
        },
    };
    let sent = namespace
        .job(move |_: &mut Inside| invalid::send(numbers, local, remote))
        .wait()?;
    sent.map_err(|error| failed(error.to_string()))?;
    Ok(Said {
        pod: pod.to_owned(),
        command: format!("a segment {local} → {remote}, outside the window"),
        ok: true,
        words: String::new(),
    })
}
