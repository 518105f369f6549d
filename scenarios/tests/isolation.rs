//! A lab touches nothing of the machine, and knows nothing of other labs.

mod machine;

use std::{
    panic::resume_unwind,
    thread::{self, JoinHandle},
};

use hoplab_scenarios::{Backend, Family, Lab, Observed, bookinfo};
use machine::Machine;
use rstest::rstest;

#[rstest]
fn the_machine_is_the_same_while_a_lab_runs_and_after(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let before = Machine::look();
    let mut lab = bookinfo(backend, family);
    Observed::of_all_flows(&mut lab).holds();
    Machine::look().assert_same_as(&before);
    let down = lab.down().expect("the lab goes down in order");
    assert!(down.leftovers.is_empty(), "{down:?}");
    Machine::look().assert_same_as(&before);
}

/// All with the same names and addresses, half of them on the other backend, all up before the first flow.
#[test]
fn twenty_labs_at_once_hold_and_know_nothing_of_each_other() {
    let up: Vec<_> = (0..20)
        .map(|number| [Backend::Nft, Backend::Legacy][number % 2])
        .map(|backend| thread::spawn(move || bookinfo(backend, Family::V4)))
        .collect();
    let labs: Vec<Lab> = up.into_iter().map(joined).collect();
    let holds = |mut lab: Lab| {
        Observed::of_all_flows(&mut lab).holds();
    };
    let judged: Vec<_> = labs
        .into_iter()
        .map(|lab| thread::spawn(move || holds(lab)))
        .collect();
    judged.into_iter().for_each(joined);
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
