//! What the model makes of flows, in a kernel that does what the model says.

mod differences;
mod flows;
mod mutants;
mod snapshots;

use super::{
    Choice, Comparison, End, Flow, Ran, Sampling, Seen, SeenEnd, Stage, Subject, choose, compare,
    course,
};
use crate::profiles::{self, Rules};
use crate::rules::{Family, RuleSet, parse};

fn subject(name: &str, text: &str) -> Subject {
    let set = parse(text, Family::V4, name).expect("valid rules");
    Subject::new(name, [set], |_| None)
}

fn profile(name: &str) -> Subject {
    let profile = profiles::find(name).expect("a profile");
    match profile.rules {
        Rules::Iptables { v4, .. } => subject(name, &v4),
        Rules::Nft(text) => {
            let read = crate::rules::read(&text, name, Family::V4).expect("valid rules");
            let sets: Vec<RuleSet> = read.rules().expect("valid rules");
            let v4 = sets.into_iter().filter(|it| it.family == Family::V4);
            Subject::new(name, v4, |_| None)
        }
    }
}

const NO_SAMPLE: Sampling = Sampling { flows: 0, seed: 1 };

fn chosen(a: &Subject, b: &Subject) -> (Stage, Choice) {
    let stage = Stage::away_from(a.sets().chain(b.sets()));
    let choice = choose(&[a, b], &stage, NO_SAMPLE).expect("few enough");
    (stage, choice)
}

/// A comparison in a kernel that does what the model says.
fn compared(a: &Subject, b: &Subject) -> Comparison {
    let (stage, choice) = chosen(a, b);
    let ran = |of: &Subject, flow: &Flow| obedient(course(of, &stage, flow));
    let both = choice.flows.iter().map(|flow| (ran(a, flow), ran(b, flow)));
    compare(a, b, &stage, &choice.flows, &both.collect::<Vec<_>>())
}

fn obedient(course: super::Course) -> Ran {
    let end = match &course.end {
        End::Reached(arrival) => SeenEnd::Reached(*arrival),
        End::Unanswered { .. } | End::Unknown { .. } => SeenEnd::Silent { last: None },
        End::Dropped => SeenEnd::Dropped {
            by: "a rule".into(),
        },
        End::Rejected { .. } => SeenEnd::Refused {
            error: "refused".into(),
        },
    };
    let seen = Seen {
        hops: course.hops.clone(),
        end,
        doubts: Vec::new(),
    };
    Ran { course, seen }
}

fn words(comparison: &Comparison) -> Vec<String> {
    let groups = comparison.groups.iter();
    groups
        .flat_map(|it| std::iter::once(&it.shown.flow).chain(&it.others))
        .map(ToString::to_string)
        .collect()
}

fn patterns(comparison: &Comparison) -> Vec<String> {
    let groups = comparison.groups.iter();
    groups.map(|it| it.pattern.to_string()).collect()
}
