//! Files that end before the run does.

use std::collections::BTreeSet;

use rstest::rstest;

use super::{SHOP, judged, recorded, refused, written};
use crate::{
    failure::{Class, Failure},
    judge::Verdict,
};

/// The beginning of the file, up to the nth line of a kind, which is left out.
fn until(kind: &str, nth: usize) -> &'static str {
    let start = format!("{{\"kind\":\"{kind}\"");
    let (at, _) = SHOP.match_indices(&start).nth(nth).expect("such a line");
    &SHOP[..at]
}

#[rstest]
#[case::before_the_first_flow("flow", 0, "before the first of 3 flows")]
#[case::in_the_first_flow(
    "counters",
    0,
    "before the first of 3 flows, in the middle of flow client-to-shop"
)]
#[case::between_two_flows("flow", 1, "after flow client-to-shop (1 of 3)")]
#[case::in_a_flow(
    "answer",
    1,
    "after flow client-to-shop (1 of 3), in the middle of flow shop-to-own-ip"
)]
#[case::after_the_flows(
    "totals",
    0,
    "after flow probe-15008 (3 of 3), before the counters were read once more"
)]
#[case::after_the_totals(
    "down",
    0,
    "after flow probe-15008 (3 of 3), before the lab was taken down"
)]
fn a_file_that_is_cut_off_is_judged_as_far_as_it_goes_and_is_unproven(
    #[case] kind: &str,
    #[case] nth: usize,
    #[case] words: &str,
) {
    let recorded = recorded(until(kind, nth)).expect("it can be read");
    let cut = recorded.evidence.cut.as_ref().expect("it is cut off");
    assert_eq!(cut.to_string(), format!("the evidence ends {words}"));
    let judgement = judged(&recorded);
    assert_eq!(judgement.verdict, Verdict::Unproven);
    let flows = judgement.flows.iter();
    assert!(flows.clone().all(|flow| flow.verdict == Verdict::Holds));
    assert_eq!(flows.len(), recorded.evidence.windows.len());
}

#[rstest]
#[case::after_the_header("lab", 0, 1)]
#[case::after_the_lab("machine", 0, 2)]
#[case::between_two_pods("pod", 1, 4)]
fn before_the_lab_was_up_there_is_nothing_to_judge(
    #[case] kind: &str,
    #[case] nth: usize,
    #[case] lines: usize,
) {
    let failure = refused(until(kind, nth));
    assert_eq!(failure.class, Class::Incomplete);
    let words = format!("ends before the lab was up: {lines} of its lines could be read");
    assert!(failure.what.contains(&words), "{failure}");
}

/// Around every line end, and often enough in between.
fn cuts() -> BTreeSet<usize> {
    let whole = SHOP.trim_end().len();
    let ends = SHOP.match_indices('\n').flat_map(|(at, _)| at - 1..=at + 2);
    let cuts = ends.chain((0..whole).step_by(97));
    cuts.filter(|at| *at < whole).collect()
}

#[test]
fn wherever_a_file_is_cut_off_it_is_no_more_than_unproven() {
    let up = until("flow", 0).len();
    for at in cuts() {
        match recorded(&SHOP[..at]) {
            Err(error) => {
                let failure = Failure::from(error);
                let class = match at {
                    0 => Class::Input,
                    _ => Class::Incomplete,
                };
                assert_eq!(failure.class, class, "cut at {at}: {failure}");
                assert!(at < up, "cut at {at}: {failure}");
            }
            Ok(recorded) => {
                let cut = recorded.evidence.cut.as_ref().expect("it is cut off");
                // Between a value and its line end nothing is lost.
                let torn = !SHOP[..at].ends_with('\n') && !SHOP[at..].starts_with('\n');
                assert_eq!(cut.torn_line.is_some(), torn, "cut at {at}: {cut}");
                assert!(SHOP.starts_with(&written(&recorded)), "cut at {at}: {cut}");
            }
        }
    }
}
