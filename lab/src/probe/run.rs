//! A probe from beginning to end, in the supervisor of a sandbox that has no lab.

use std::{sync::OnceLock, time::Instant};

use super::{
    ProbePlan,
    drive::{Ears, Sender, drive},
    ports::{self, Round},
    room,
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
    trace::{Options, Packets, Selection, TraceWatch},
};

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
    let mut report = ProbeReport {
        backend: chosen,
        seen: Vec::new(),
        lost: None,
        took_us: 0,
    };
    let mut seen: Vec<(usize, Seen)> = Vec::new();
    for round in ports::rounds(plan)? {
        let part = ProbePlan {
            flows: round
                .flows
                .iter()
                .map(|at| plan.flows[*at].clone())
                .collect(),
            ..plan.clone()
        };
        let scene = Scene::build(&part, backend)?;
        let played = play(&part, &scene, backend, &round);
        scene.remove()?;
        let (of_round, lost, took_us) = played?;
        seen.extend(round.flows.into_iter().zip(of_round));
        report.lost = report.lost.or(lost);
        report.took_us += took_us;
    }
    seen.sort_by_key(|(at, _)| *at);
    report.seen = seen.into_iter().map(|(_, it)| it).collect();
    Ok(report)
}

/// What each flow did, what was lost, and how long it took in microseconds.
type Played = (Vec<Seen>, Option<String>, u64);

fn play(
    plan: &ProbePlan,
    scene: &Scene,
    backend: Option<Backend>,
    round: &Round,
) -> Result<Played, Failure> {
    let legacy: Vec<RuleSet> = match backend {
        Some(Backend::Legacy) => scene.rules.values().cloned().collect(),
        _ => Vec::new(),
    };
    let watch = scene.pod.job(move |_| {
        TraceWatch::open(Options {
            selection: Selection {
                packets: Packets::First,
                ..Selection::default()
            },
            legacy,
            ..Options::default()
        })
    });
    let mut watch = watch.wait()??;
    let ears = {
        let numbers: Vec<u16> = round.listened.iter().copied().collect();
        let families: Vec<_> = plan.families().into_iter().collect();
        let open = move || {
            let each = families.iter().map(|family| listen(*family, &numbers));
            each.collect::<Result<Vec<_>, _>>()
                .map(|it| it.into_iter().flatten().collect())
        };
        let mut outside = Vec::new();
        for there in std::iter::once(&scene.outside).chain(scene.beyond.values()) {
            let open = open.clone();
            let listeners: Vec<_> = there.job(move |_| open()).wait()??;
            outside.extend(listeners);
        }
        Ears {
            pod: scene.pod.job(move |_| open()).wait()??,
            outside,
        }
    };
    let mut told = Told::new(scene.rules.clone());
    let batch = room::flows_at_once(watch.room(), &scene.rules, backend);
    let started = Instant::now();
    let numbered: Vec<_> = (0..)
        .zip(&plan.flows)
        .zip(round.sources.iter().copied())
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
