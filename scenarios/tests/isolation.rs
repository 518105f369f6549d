//! A lab touches nothing of the machine, and knows nothing of other labs.

mod machine;

use std::{
    panic::resume_unwind,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use hoplab_scenarios::{Backend, Family, Lab, Observed, bookinfo, status_field};
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

/// Whatever the one who holds a lab dies of, such as a judge that panics, the lab dies with it.
#[rstest]
fn a_panic_beside_a_lab_that_is_up_leaves_nothing_of_it(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    let before = Machine::look();
    let (pid, told) = mpsc::channel();
    let judged = thread::spawn(move || {
        let mut lab = bookinfo(backend, Family::V4);
        pid.send(lab.pid()).expect("somebody listens");
        lab.drive("outside-to-reviews").expect("it is sent");
        let evidence = lab.observed().expect("it was seen");
        assert_eq!(
            evidence.windows.len(),
            2,
            "a judge that is wrong about what it gets"
        );
    });
    let panic = judged.join().expect_err("it panics");
    let words = panic.downcast_ref::<String>().expect("words");
    assert!(words.contains("a judge that is wrong"), "{words}");
    // With its supervisor, process 1 of the lab, the kernel ends all others.
    let supervisor = told.recv().expect("the lab came up");
    assert_eq!(status_field(supervisor, "State"), None);
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
