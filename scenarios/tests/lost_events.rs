//! Events that the kernel had no room for: the run is Unproven, and says how many were lost and in which pod.

use hoplab::{
    evidence::{Loss, Observer},
    judge::Verdict,
    netfilter::BackendChoice,
    path,
    traced::Tracing,
};
use hoplab_scenarios::{Backend, Family, Lab, Observed, Options, bookinfo_file, up};
use rstest::rstest;

const FLOW: &str = "outside-to-reviews";
const POD: &str = "reviews-v1";

/// Bookinfo whose sockets hold this many bytes each of what nobody has read yet.
fn with_room(event_room: usize, tracing: Tracing, backend: Backend, family: Family) -> Lab {
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families: family.into(),
        tracing,
        event_room: Some(event_room),
        ..Options::default()
    };
    up(bookinfo_file(), options)
}

#[track_caller]
fn loss(observed: &Observed, of: Observer) -> &Loss {
    let all = &observed.window(FLOW).lost;
    let found = all.iter().find(|it| it.of == of && it.pod == POD);
    found.unwrap_or_else(|| panic!("{all:?}"))
}

/// The number in front of these words.
#[track_caller]
fn count(loss: &Loss, words: &str) -> u64 {
    let parts = loss.what.split(", ").filter_map(|it| it.split_once(' '));
    let found = parts.clone().find(|it| it.1 == words);
    let (number, _) = found.unwrap_or_else(|| panic!("no `{words}` in {}", loss.what));
    number.parse().expect("a number")
}

#[rstest]
fn a_trace_with_a_gap_is_unproven_and_says_how_much_is_missing_and_where(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    // A dozen packets with hundreds of events, in room for a handful.
    let mut lab = with_room(4 << 10, Tracing::All, backend, family);
    let observed = Observed::of(&mut lab, &[FLOW]);
    observed.is(Verdict::Unproven);
    let loss = loss(&observed, Observer::Trace);
    assert!(count(loss, "overruns (ENOBUFS)") > 0);
    assert!(count(loss, "messages dropped by the kernel") > 10);
    observed.missed(&loss.to_string());
    // What is explained of it says the same.
    let flow = observed.file.topology.flow(FLOW).expect("it was sent");
    let window = observed.evidence.windows.last().expect("it was sent");
    let path = path::of_window(&observed.file, &observed.evidence, window, flow);
    let path = path.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(path.lost.contains(&loss.to_string()), "{:?}", path.lost);
}

#[rstest]
fn conntrack_with_a_gap_is_unproven_and_says_how_much_is_missing_and_where(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    // Less than the kernel gives to anyone; what it does give holds two or three events.
    let mut lab = with_room(1, Tracing::Off, backend, family);
    let observed = Observed::of(&mut lab, &[FLOW]);
    observed.is(Verdict::Unproven);
    let loss = loss(&observed, Observer::Conntrack);
    assert!(count(loss, "messages dropped by the kernel (ENOBUFS)") > 0);
    observed.missed(&loss.to_string());
    // What was heard of it is not taken for the next flow's: that one has losses of its own, and no stranger.
    let next = Observed::of(&mut lab, &["probe-15021"]);
    next.is(Verdict::Unproven);
}

/// What an ordinary user's sockets hold as machines come: `net.core.rmem_max` is 208 KiB there, and counts twice.
const OF_A_USER: usize = 208 << 10;

/// Under load the supervisor may come too late to read; that is a loss like any other, and nobody is accused.
#[rstest]
fn with_a_users_room_the_run_holds_or_says_what_it_lost(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Tracing::FirstAndReply, Tracing::All)] tracing: Tracing,
) {
    let mut lab = with_room(OF_A_USER, tracing, backend, Family::V4);
    let observed = Observed::of(&mut lab, &["ingress-reviews-v1"]);
    let lost = &observed.window("ingress-reviews-v1").lost;
    let wanted = match lost.is_empty() {
        true => Verdict::Holds,
        false => Verdict::Unproven,
    };
    observed.is(wanted);
}
