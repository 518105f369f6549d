//! Which flows run: one of every kind that the rules tell apart, and some of those that the model calls alike.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::candidates::Space;
use super::course::{Course, End, Place, course};
use super::flow::{Flow, Origin};
use super::stage::Stage;
use super::subject::Subject;
use crate::model::Hook;
use crate::rules::{Family, Protocol, RuleId};

/// How many of the flows that the model calls alike run all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// How many.
    pub flows: usize,
    /// Which: the same number picks the same flows.
    pub seed: u64,
}

/// The flows that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// One of every kind, ordinary ones first; then the sample.
    pub flows: Vec<Flow>,
    /// How many of them stand for a kind of their own.
    pub kinds: usize,
    /// How many flows were asked about.
    pub asked: usize,
    /// Ports that sockets have to listen at beside those the flows go to.
    pub landings: BTreeSet<u16>,
}

/// What the model says of a flow under every subject. Flows with equal kinds meet the same rules everywhere, so that
/// none of the subjects tells them apart.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    family: Family,
    protocol: Protocol,
    outside: bool,
    ways: Vec<(Vec<(Hook, Vec<RuleId>)>, Relative)>,
}

/// An end as seen from the flow: what matters is not which address was asked for.
#[derive(PartialEq, Eq, Hash)]
enum Relative {
    Arrived {
        place: Place,
        port: Option<u16>,
        as_sent: bool,
        answered: bool,
    },
    Gone,
    Unknown(String),
}

/// Chooses flows for all subjects together. `None` when their rules name too much to try it all.
pub fn choose(subjects: &[&Subject], stage: &Stage, sampling: Sampling) -> Option<Choice> {
    let families: BTreeSet<Family> = subjects.iter().flat_map(|it| it.families()).collect();
    let mut choice = Choice {
        flows: Vec::new(),
        kinds: 0,
        asked: 0,
        landings: BTreeSet::new(),
    };
    let mut alike = Vec::new();
    for family in families {
        let space = Space::new(subjects, stage, family);
        choice.landings.extend(space.landings());
        let mut waiting: VecDeque<Flow> = space.flows()?.into();
        let mut asked: BTreeSet<Flow> = BTreeSet::new();
        let mut known: HashMap<Kind, ()> = HashMap::new();
        while let Some(flow) = waiting.pop_front() {
            if !asked.insert(flow.clone()) {
                continue;
            }
            let kind = kind(subjects, stage, &flow);
            if known.insert(kind, ()).is_some() {
                alike.push(flow);
                continue;
            }
            waiting.extend(space.around(&flow));
            choice.flows.push(flow);
        }
        choice.asked += asked.len();
    }
    choice.kinds = choice.flows.len();
    alike.sort_by_cached_key(|flow| shuffled(flow, sampling.seed));
    choice.flows.extend(alike.into_iter().take(sampling.flows));
    Some(choice)
}

fn kind(subjects: &[&Subject], stage: &Stage, flow: &Flow) -> Kind {
    let ways = subjects.iter().map(|subject| {
        let Course { hops, end, .. } = course(subject, stage, flow);
        let rules = hops.into_iter().map(|hop| (hop.hook, hop.rules));
        (rules.collect(), relative(flow, &end))
    });
    Kind {
        family: flow.family(),
        protocol: flow.protocol,
        outside: matches!(flow.origin, Origin::Outside { .. }),
        ways: ways.collect(),
    }
}

fn relative(flow: &Flow, end: &End) -> Relative {
    let answered = matches!(end, End::Reached(_));
    match end {
        End::Reached(at) | End::Unanswered { arrival: at, .. } => Relative::Arrived {
            place: at.place,
            port: (at.port != flow.to.port()).then_some(at.port),
            as_sent: at.local == flow.to,
            answered,
        },
        End::Dropped | End::Rejected { .. } => Relative::Gone,
        End::Unknown { why } => Relative::Unknown(why.clone()),
    }
}

/// A number that has nothing to do with the order of flows, the same on every machine (FNV-1a, 64 bit).
fn shuffled(flow: &Flow, seed: u64) -> u64 {
    let words = flow.to_string();
    let bytes = seed.to_le_bytes().into_iter().chain(words.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
