//! Which flows run: one of every kind that the rules tell apart, and some of those that the model calls alike.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::candidates::Space;
use super::constants::Constants;
use super::course::{Course, End, Hop, Place, course};
use super::flow::{Flow, Origin};
use super::stage::Stage;
use super::subject::Subject;
use crate::rules::{Family, Protocol};

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
    stray: bool,
    ways: Vec<(Vec<Hop>, Relative)>,
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
    let mut choice = Choice {
        flows: Vec::new(),
        kinds: 0,
        asked: 0,
        landings: BTreeSet::new(),
    };
    let mut alike = Vec::new();
    for family in families(subjects) {
        let mut search = Search::new(subjects, stage, family)?;
        choice.landings.extend(search.space.landings());
        while let Some((flow, first)) = search.next() {
            match first {
                Some(_) => choice.flows.push(flow),
                None => alike.push(flow),
            }
        }
        choice.asked += search.asked.len();
    }
    choice.kinds = choice.flows.len();
    alike.sort_by_cached_key(|flow| shuffled(flow, sampling.seed));
    choice.flows.extend(alike.into_iter().take(sampling.flows));
    Some(choice)
}

/// Ports where a flow may end under these rules.
pub fn landings(subject: &Subject) -> BTreeSet<u16> {
    let of = |family| Constants::of(&[subject], family).landings;
    subject.families().flat_map(of).collect()
}

/// What the model says of two subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// This flow tells them apart.
    Apart(Flow),
    /// None does.
    Alike {
        /// Flows asked about.
        asked: usize,
        /// Kinds of flows among them.
        kinds: usize,
    },
    /// The model cannot tell, and why.
    Open(String),
}

/// Looks for a flow that two subjects treat differently, the most ordinary first.
pub(super) fn told(a: &Subject, b: &Subject, stage: &Stage) -> Told {
    let (mut asked, mut kinds) = (0, 0);
    let subjects = [a, b];
    for family in families(&subjects) {
        let Some(mut search) = Search::new(&subjects, stage, family) else {
            return Told::Open("the rules name too much to try it all".to_owned());
        };
        while let Some((flow, first)) = search.next() {
            let Some(courses) = first else { continue };
            kinds += 1;
            let [of_a, of_b] = &courses[..] else { continue };
            if !(of_a.is_known() && of_b.is_known()) {
                return Told::Open(format!("the model cannot tell what becomes of {flow}"));
            }
            if !of_a.behaves_as(of_b) {
                return Told::Apart(flow);
            }
        }
        asked += search.asked.len();
    }
    Told::Alike { asked, kinds }
}

/// Every flow that two subjects can be asked about, and whether the model says that they treat it differently.
pub(super) fn all_told(a: &Subject, b: &Subject, stage: &Stage) -> Vec<(Flow, bool)> {
    let subjects = [a, b];
    let mut told = Vec::new();
    for family in families(&subjects) {
        // Without a space there is no choice of flows, and nothing is compared.
        let Some(mut search) = Search::new(&subjects, stage, family) else {
            continue;
        };
        while let Some((flow, _)) = search.next() {
            let [of_a, of_b] = [a, b].map(|it| course(it, stage, &flow));
            told.push((flow, !of_a.behaves_as(&of_b)));
        }
    }
    told
}

fn families(subjects: &[&Subject]) -> BTreeSet<Family> {
    subjects.iter().flat_map(|it| it.families()).collect()
}

/// Flows one after the other, and whether each is the first of its kind.
struct Search<'a> {
    subjects: &'a [&'a Subject],
    stage: &'a Stage,
    space: Space,
    waiting: VecDeque<Flow>,
    asked: BTreeSet<Flow>,
    known: HashSet<Kind>,
}

impl<'a> Search<'a> {
    fn new(subjects: &'a [&'a Subject], stage: &'a Stage, family: Family) -> Option<Self> {
        let space = Space::new(subjects, stage, family);
        Some(Self {
            subjects,
            stage,
            waiting: space.flows()?.into(),
            space,
            asked: BTreeSet::new(),
            known: HashSet::new(),
        })
    }

    /// The next flow; for the first of its kind, its course under every subject.
    fn next(&mut self) -> Option<(Flow, Option<Vec<Course>>)> {
        loop {
            let flow = self.waiting.pop_front()?;
            if !self.asked.insert(flow.clone()) {
                continue;
            }
            let courses = self.subjects.iter().map(|it| course(it, self.stage, &flow));
            let courses: Vec<Course> = courses.collect();
            if !self.known.insert(kind(&flow, &courses)) {
                return Some((flow, None));
            }
            self.waiting.extend(self.space.around(&flow));
            return Some((flow, Some(courses)));
        }
    }
}

fn kind(flow: &Flow, courses: &[Course]) -> Kind {
    let ways = courses
        .iter()
        .map(|course| (course.hops.clone(), relative(flow, &course.end)));
    Kind {
        family: flow.family(),
        protocol: flow.protocol,
        outside: matches!(flow.origin, Origin::Outside { .. }),
        stray: flow.stray,
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
