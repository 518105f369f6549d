//! A probe from beginning to end, in the supervisor of a sandbox that has no lab.

use std::{collections::BTreeSet, sync::OnceLock, time::Instant};

use super::{
    ProbePlan,
    drive::{Ears, Sender, drive},
    ports,
    scene::Scene,
    sockets::{client, listen},
    told::Told,
};
use crate::{
    behaviour::{Origin, ProbeReport, Seen, SeenEnd},
    failure::Failure,
    netfilter::Backend,
    plan::Files,
    rules::{RuleSet, Written},
    sandbox::prepare_mounts,
    trace::{Options, TraceWatch},
};

/// Flows that are under way at once.
const BATCH: usize = 128;
/// With less room than this for what the trace has not been read, an ordinary user's share, fewer flows are.
const ROOM_FOR_A_BATCH: usize = 8 << 20;
const SMALL_BATCH: usize = 2;

/// Plays the flows. May be called again and again in one supervisor: each time the namespaces are new ones. The names
/// of users and groups that rules use are those of the first call.
pub(crate) fn run_inside(plan: &ProbePlan) -> Result<ProbeReport, Failure> {
    static MOUNTED: OnceLock<()> = OnceLock::new();
    if MOUNTED.get().is_none() {
        prepare_mounts(&Files::naming(&plan.names))?;
        MOUNTED.get_or_init(|| ());
    }
    let chosen = match plan.rules {
        Written::Iptables(_) => Some(plan.backend.settle()?),
        Written::Nft { .. } => None,
    };
    let backend = chosen.as_ref().map(|it| it.backend);
    let listened = ports::listened(plan);
    let sources = ports::sources(plan, &listened)?;
    let scene = Scene::build(plan, backend)?;
    let played = play(plan, &scene, backend, &listened, &sources);
    scene.remove()?;
    let (seen, lost, took_us) = played?;
    Ok(ProbeReport {
        backend: chosen,
        seen,
        lost,
        took_us,
    })
}

/// What each flow did, what was lost, and how long it took in microseconds.
type Played = (Vec<Seen>, Option<String>, u64);

fn play(
    plan: &ProbePlan,
    scene: &Scene,
    backend: Option<Backend>,
    listened: &BTreeSet<u16>,
    sources: &[u16],
) -> Result<Played, Failure> {
    let legacy: Vec<RuleSet> = match backend {
        Some(Backend::Legacy) => scene.rules.values().cloned().collect(),
        _ => Vec::new(),
    };
    let watch = scene.pod.job(move |_| {
        TraceWatch::open(Options {
            legacy,
            ..Options::default()
        })
    });
    let mut watch = watch.wait()??;
    let ears = {
        let numbers: Vec<u16> = listened.iter().copied().collect();
        let families: Vec<_> = plan.families().into_iter().collect();
        let open = move || {
            let each = families.iter().map(|family| listen(*family, &numbers));
            each.collect::<Result<Vec<_>, _>>()
                .map(|it| it.into_iter().flatten().collect())
        };
        let (here, there) = (open.clone(), open);
        Ears {
            pod: scene.pod.job(move |_| here()).wait()??,
            outside: scene.outside.job(move |_| there()).wait()??,
        }
    };
    let mut told = Told::new(scene.rules.clone());
    let batch = match watch.room() < ROOM_FOR_A_BATCH {
        true => SMALL_BATCH,
        false => BATCH,
    };
    let started = Instant::now();
    let numbered: Vec<_> = (0..)
        .zip(&plan.flows)
        .zip(sources.iter().copied())
        .collect();
    let mut ends: Vec<SeenEnd> = Vec::new();
    for some in numbered.chunks(batch) {
        let senders = some.iter().map(|((number, flow), port)| {
            let namespace = match &flow.origin {
                Origin::Pod { .. } => &scene.pod,
                Origin::Outside { interface } => scene.behind(interface),
            };
            let (of, port) = ((*flow).clone(), *port);
            let socket = namespace.job(move |_| client(&of, port)).wait()??;
            Ok::<_, Failure>(Sender {
                number: *number,
                flow,
                port,
                socket,
            })
        });
        let senders = senders.collect::<Result<Vec<_>, _>>()?;
        ends.extend(drive(&senders, &ears, &mut watch, &mut told)?);
    }
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    drop(ears);
    let (packets, lost) = watch.stop()?;
    told.add(packets);
    let seen = numbered.iter().zip(ends).map(|(((_, flow), port), end)| {
        let (hops, doubts) = told.hops(flow, *port);
        Seen { hops, end, doubts }
    });
    Ok((seen.collect(), lost.words(), took_us))
}
