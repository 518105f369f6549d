//! Tries each thing a lab needs, in a scratch sandbox, and says what is missing, what follows, and how to fix it.
//!
//! `run` asks here too when a lab does not come up, so both say the same sentence. Nothing is concluded from files or
//! versions where it can be tried; what can't be tried is never said to work.

mod ability;
mod check;
mod links;
mod machine;
mod nft;
mod pieces;
mod rules;
mod sheet;
mod text;
mod traffic;
mod users;

use std::thread;

pub use ability::Ability;
pub use check::{Check, NeededBy, Outcome, Problem};
pub use text::text;

use crate::{
    failure::{Class, Failure},
    interception::Interception,
    netfilter::{Backend, BackendChoice},
    plan::{self, Plan, RuleTexts},
    rules::Family,
    sandbox::protocol::{Message, Request},
    topology::Topology,
    traced::Tracing,
};
use ability::{BACKENDS, suggest_other_backend};
use sheet::{Sheet, Step, Trial};

/// Tries everything: first this machine, then what is inside a scratch sandbox.
pub fn examine() -> Vec<Check> {
    let mut sheet = Sheet::new("this machine");
    let supervisor = machine::examine(&mut sheet);
    let trial = Trial::new(
        "supervisor",
        "a process that is PID 1 of the sandbox, and an answer from it",
        NeededBy::EveryLab,
        "what it wrote above may tell; /proc must be mounted, and /proc/self/exe executable",
    );
    let inside = sheet.try_after(supervisor, trial, |mut supervisor| {
        supervisor.send(&Request::Doctor)?;
        match supervisor.receive()? {
            Message::Checks(checks) => Ok((checks, "it answers".into())),
            Message::Failed(failure) => Err(failure),
            other => Err(Failure::new(
                Class::State,
                format!("the supervisor answered something else: {other:?}"),
            )),
        }
    });
    let skipped = inside.bare();
    let mut checks = sheet.checks;
    checks.extend(inside.value().unwrap_or_else(|| inside_after(&skipped)));
    suggest_other_backend(&mut checks);
    checks
}

/// Tries everything that needs a sandbox; runs in its supervisor.
pub(crate) fn examine_inside() -> Vec<Check> {
    inside_after(&Step::done(()))
}

/// With a step that failed nothing is tried, and every check says why.
fn inside_after(start: &Step<()>) -> Vec<Check> {
    let plan = scratch_plan();
    let mut sheet = Sheet::new("sandbox");
    let mounts = links::mounts(&mut sheet, start, &plan);
    links::examine(&mut sheet, &mounts, &plan);
    let users = users::examine(&mut sheet, &mounts);
    let mut checks = sheet.checks;
    let of_backends: Vec<Vec<Check>> = thread::scope(|scope| {
        let threads = BACKENDS.map(|backend| {
            let (mounts, users, plan) = (&mounts, &users, &plan);
            scope.spawn(move || of_backend(backend, mounts, users, plan))
        });
        threads.map(|t| t.join().unwrap_or_default()).into()
    });
    checks.extend(of_backends.into_iter().flatten());
    let mut sheet = Sheet::new("native nft");
    nft::examine(&mut sheet, mounts.bare());
    checks.extend(sheet.checks);
    checks
}

fn of_backend(backend: Backend, mounts: &Step<()>, users: &Step<()>, plan: &Plan) -> Vec<Check> {
    let programs = machine::programs_step(backend);
    let start = mounts.clone().and(programs).bare();
    let mut checks = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut sheet = Sheet::new(format!("{backend}, {family}"));
        let accepted = rules::examine(&mut sheet, &start, backend, family);
        traffic::examine(&mut sheet, &accepted, users, backend, family, plan);
        checks.extend(sheet.checks);
    }
    checks
}

/// The words for a lab that did not come up: the doctor's, when this machine can't run it; else its own.
pub(crate) fn explain(failure: Failure, choice: BackendChoice, family: Family) -> Failure {
    let backend = match (choice.settle(), choice) {
        (Ok(chosen), _) => chosen.backend,
        (Err(_), BackendChoice::Fixed(backend)) => backend,
        (Err(_), BackendChoice::Auto) => Backend::Nft,
    };
    let checks = examine();
    let problem = checks
        .iter()
        .filter(|c| c.needed_by.concerns(backend, family))
        .find_map(Check::problem);
    problem.map_or(failure, Problem::to_failure)
}

/// An error of the machine with its cause.
fn machine_failure(what: impl Into<String>, cause: impl std::fmt::Display) -> Failure {
    Failure::new(Class::Machine, what).cause(cause.to_string())
}

/// A lab of one pod, planned as every lab is: the doctor tries the sysctls, links and addresses that labs use.
fn scratch_plan() -> Plan {
    const LAB: &str = r#"
        name = "doctor"
        [network]
        bridge = "br0"
        ipv4 = "10.77.0.0/24"
        ipv6 = "fd77::/64"
        node_ipv4 = "10.77.0.1"
        node_ipv6 = "fd77::1"
        [rules]
        profile = "istio-1.13"
        [[pod]]
        name = "doctor"
        ipv4 = "10.77.0.2"
        ipv6 = "fd77::2"
        sidecar = true
        app = { port = 9080 }
    "#;
    let topology = Topology::parse(LAB, "the doctor's lab").expect("a test reads it");
    let (interception, rules) = (Interception::default(), RuleTexts::default());
    plan::plan(
        &topology,
        &interception,
        rules,
        &plan::PodRules::default(),
        BackendChoice::Auto,
        Tracing::Off,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sandbox_every_check_is_skipped_and_says_why() {
        let checks = inside_after(&Step::failed("namespaces"));
        assert!(checks.len() > 50, "{} checks", checks.len());
        let because = Outcome::Skipped {
            because: "namespaces".into(),
        };
        assert!(checks.iter().all(|c| c.outcome == because), "{checks:#?}");
    }

    #[test]
    fn every_check_has_an_id_of_its_own() {
        let mut ids: Vec<String> = inside_after(&Step::failed("namespaces"))
            .into_iter()
            .map(|c| c.id)
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
