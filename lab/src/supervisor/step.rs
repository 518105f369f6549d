//! Takes a step between two flows: changes rules, processes, conntrack; then the next flow starts from what is there.

use std::{
    collections::BTreeMap,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use hoplab_proxies::{record::Role, wire::Command};

use super::{
    Event, drive, invalid,
    lasting::{self, LIMIT, until},
    live::{Live, no_such_pod},
    phase, plug, replace,
};
use crate::{
    evidence::{Said, Up},
    failure::{Class, Failure},
    net::{self, Inside},
    netfilter::{self, Backend, RuleTool},
    rules::Family,
    sandbox::protocol::{StepOrder, StepWhat, Stepped},
};

/// Time for the close of a connection to come to its other ends.
const CLOSING: Duration = Duration::from_millis(500);

/// Takes a step. What it changed is read back; nothing of it is in the window of the next flow.
pub(super) fn step(
    live: &mut Live,
    order: StepOrder,
    came_up: &mut Up,
    queue: &Receiver<Event>,
) -> Result<Stepped, Failure> {
    phase("step");
    tracing::debug!(step = order.step, "takes a step");
    if !live.held.is_empty() {
        acknowledged(live)?;
    }
    let (mut said, mut interfaces) = (Vec::new(), BTreeMap::new());
    match order.what {
        StepWhat::Restore { texts, flush, pods } => {
            said = restore(live, &texts, flush, &pods)?;
            // They know rules of legacy iptables by their places: the next flow has new ones.
            live.stop_observing();
        }
        StepWhat::Replace { pods, rules } => {
            for pod in &pods {
                replace::replace(live, pod, rules.clone())?;
                // What it refuses is a failure of the run.
                said.push(done(pod, "all tables in one transaction"));
            }
            live.stop_observing();
        }
        StepWhat::Stop(it) => lasting::end(live, &it.pod, it.role.logged(), queue)?,
        StepWhat::Start(it) => lasting::start(live, &it.pod, it.role.logged(), queue)?,
        StepWhat::Restart(it) => {
            lasting::end(live, &it.pod, it.role.logged(), queue)?;
            lasting::start(live, &it.pod, it.role.logged(), queue)?;
        }
        StepWhat::Flush { pod } => {
            let watch = live.pods.get_mut(&pod).and_then(|it| it.conntrack.as_mut());
            watch.ok_or_else(|| no_such_pod(&pod))?.flush()?;
            said.push(done(&pod, "every entry of conntrack deleted"));
        }
        StepWhat::Plug { pod, link } => {
            interfaces = plug::plug(live, &pod, *link)?;
            said.push(done(&pod, "its link added"));
        }
        StepWhat::Unplug { pod, interface } => {
            interfaces = plug::unplug(live, &pod, &interface)?;
            said.push(done(&pod, "its link deleted"));
        }
        StepWhat::Release { held } => release(live, &held, queue)?,
        StepWhat::Invalid { held } => said.push(segment(live, &held)?),
    }
    live.settle(queue)?;
    let mut up = live.as_it_stands(came_up)?;
    live.name_processes(&mut up);
    *came_up = up.clone();
    Ok(Stepped {
        said,
        interfaces,
        up,
    })
}

/// Waits for acknowledgements of what held connections carried: behind a step they would be packets of the next flow.
fn acknowledged(live: &Live) -> Result<(), Failure> {
    let pods = live.pods.values().map(|it| &it.namespace);
    let all = pods.chain([&live.node]);
    let jobs: Vec<_> = all
        .map(|it| it.job(|_: &mut Inside| net::await_acknowledged()))
        .collect();
    let mut jobs = jobs.into_iter();
    jobs.try_for_each(|it| Ok(it.wait()??))
}

/// What the kernel did as it was told.
fn done(pod: &str, what: &str) -> Said {
    Said {
        pod: pod.to_owned(),
        command: what.to_owned(),
        ok: true,
        words: String::new(),
    }
}

/// Gives texts to iptables-restore in pods with rules; `flush` empties the tables they name first.
fn restore(
    live: &Live,
    texts: &BTreeMap<Family, String>,
    flush: bool,
    pods: &[String],
) -> Result<Vec<Said>, Failure> {
    let RuleTool::Iptables(backend) = live.tool else {
        return Err(Failure::new(
            Class::State,
            "the pods have rules of nft's own",
        ));
    };
    let mut jobs = Vec::new();
    for name in pods {
        let pod = live.pods.get(name).ok_or_else(|| no_such_pod(name))?;
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

/// Closes a held connection, and waits until its holder says so, and for a moment until every other end does: one whose
/// process was ended, or that no packet reaches any more, says nothing.
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
    // The close travels from proxy to proxy: what is told of it later would be a stranger to the next flow.
    let deadline = Instant::now() + CLOSING;
    let waited = until(live, queue, deadline, |live| {
        live.released.is_empty() || live.broken.is_some()
    });
    match Instant::now() < deadline {
        true => waited,
        false => Ok(()),
    }
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
