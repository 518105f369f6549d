//! Every flow of Bookinfo holds, on both backends and over both families; and so does what the notes say of it.

use hoplab::judge::{Judgement, Reading, Step, Verdict};
use hoplab_scenarios::{Backend, Family, Lab, LabFile, Observed, bookinfo, bookinfo_file};
use rstest::rstest;

/// The flows that give the same answer whatever went before.
macro_rules! flows_alone {
    ($($flow:tt)*) => {
        const ALONE: &[&str] = &[$($flow),*];

        #[rstest]
        fn a_flow_sent_alone_holds(
            #[values($($flow),*)] flow: &str,
            #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
            #[values(Family::V4, Family::V6)] family: Family,
            #[with(backend, family)] mut bookinfo: Lab,
        ) {
            let observed = Observed::of(&mut bookinfo, &[flow]);
            observed.ran_on(backend, family).holds();
        }
    };
}

flows_alone! {
    "outside-to-reviews"
    "app-to-outside"
    "probe-15021"
    "probe-15020"
    "probe-15090"
    "probe-15008"
    "app-to-own-ip"
    "proxy-to-own-ip"
    "app-to-localhost"
    "proxy-to-localhost"
    "gid-1337-to-pod"
    "uid-1337-to-pod"
    "outside-to-15001"
    "outside-to-15006"
    "inside-to-15001"
    "inside-to-15006"
    "lookup-over-udp"
    "lookup-over-tcp"
    "lookup-outside-name"
    "lookup-missing-name"
}

/// The proxies take the endpoints of a service in turn: the flow that meets v2 is the second.
const IN_TURN: [&str; 3] = [
    "ingress-reviews-v1",
    "ingress-reviews-v2",
    "ingress-reviews-v3",
];

#[rstest]
fn calls_through_the_ingress_meet_reviews_v1_then_v2_then_v3(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
    #[with(backend, family)] mut bookinfo: Lab,
) {
    let observed = Observed::of(&mut bookinfo, &IN_TURN);
    observed.ran_on(backend, family).holds();
}

#[rstest]
fn no_flow_of_the_lab_file_is_left_out_here(bookinfo_file: LabFile) {
    let flows = bookinfo_file.topology.flows.iter();
    let in_file: Vec<&str> = flows.map(|flow| flow.name.as_str()).collect();
    assert_eq!(in_file, [&IN_TURN, ALONE].concat());
}

#[rstest]
fn the_whole_run_holds_with_the_notes_judged_as_expected(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
    #[with(backend, family)] mut bookinfo: Lab,
) {
    let observed = Observed::of_all_flows(&mut bookinfo);
    observed.ran_on(backend, family).holds();
    assert_eq!(observed.judgement.flows.len(), IN_TURN.len() + ALONE.len());
    assert_eq!(steps_in_words(&observed.judgement), STEPS);
    assert_eq!(
        table_rows(&observed.judgement),
        TABLE.map(|(rule, packets)| (rule.to_string(), packets))
    );
    let down = bookinfo.down().expect("the lab goes down in order");
    assert_eq!((down.stopped, down.namespaces), (16, 9));
    assert!(
        down.killed.is_empty() && down.leftovers.is_empty(),
        "{down:?}"
    );
}

/// The fifteen steps, read as the reply of reviews, then as reviews calling ratings.
const STEPS: [&str; 2] = [
    "1-6 hold, 7 half, 8 hold, 9 half, 10-12 refuted, 13 half, 14 refuted, 15 half",
    "1-6 hold, 7 half, 8-10 hold, 11 half, 12-15 hold",
];

fn steps_in_words(judgement: &Judgement) -> Vec<String> {
    let notes = judgement
        .notes
        .as_ref()
        .expect("the notes are judged when all flows ran");
    notes.readings.iter().map(reading_in_words).collect()
}

fn reading_in_words(reading: &Reading) -> String {
    let runs = reading.steps.chunk_by(|a, b| step_word(a) == step_word(b));
    let words = runs.map(|run| match run {
        [only] => format!("{} {}", only.number, step_word(only)),
        [first, .., last] => format!("{}-{} {}", first.number, last.number, step_word(first)),
        [] => unreachable!("chunks are not empty"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn step_word(step: &Step) -> &'static str {
    match step.verdict {
        _ if step.half_true() => "half",
        Verdict::Holds => "hold",
        Verdict::Unproven => "unproven",
        Verdict::Refuted => "refuted",
    }
}

/// Connections that reviews-v2 counted by the end: the rows that are zero in the notes' table are zero here.
const TABLE: [(&str, u64); 18] = [
    ("PREROUTING 1", 3),
    ("OUTPUT 1", 4),
    ("ISTIO_INBOUND 1", 0),
    ("ISTIO_INBOUND 2", 0),
    ("ISTIO_INBOUND 3", 1),
    ("ISTIO_INBOUND 4", 1),
    ("ISTIO_INBOUND 5", 1),
    ("ISTIO_IN_REDIRECT 1", 1),
    ("ISTIO_OUTPUT 1", 1),
    ("ISTIO_OUTPUT 2", 0),
    ("ISTIO_OUTPUT 3", 1),
    ("ISTIO_OUTPUT 4", 1),
    ("ISTIO_OUTPUT 5", 0),
    ("ISTIO_OUTPUT 6", 0),
    ("ISTIO_OUTPUT 7", 0),
    ("ISTIO_OUTPUT 8", 0),
    ("ISTIO_OUTPUT 9", 1),
    ("ISTIO_REDIRECT 1", 1),
];

fn table_rows(judgement: &Judgement) -> Vec<(String, u64)> {
    let notes = judgement
        .notes
        .as_ref()
        .expect("the notes are judged when all flows ran");
    let rows = notes.table.rows.iter();
    rows.map(|row| (row.rule.short(), row.packets.expect("the row was read")))
        .collect()
}

#[test]
fn three_lines_are_a_test() {
    let mut lab = Lab::from_file("bookinfo").expect("the lab comes up");
    let judgement = lab.check("app-to-own-ip").expect("the flow is sent");
    assert_eq!(judgement.verdict, Verdict::Holds);
}
