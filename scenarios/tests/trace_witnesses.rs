//! What the judge makes of a trace with a gap or a lie in it. Pure but for its start: one lab runs for the whole file,
//! and the tests judge changed copies of what it left behind.

use std::{net::SocketAddr, sync::LazyLock};

use hoplab::{
    Lab, Options,
    evidence::{Loss, Observer, Window},
    judge::Verdict,
    netfilter::BackendChoice,
    traced::{Hook, Ordinal, Owner, Step, TracedPacket, Tracing, Verdict as OfRule},
};
use hoplab_proxies::record::Event;
use hoplab_scenarios::{Backend, Family, Observed, bookinfo, bookinfo_file, up};
use rstest::rstest;

static RECORDED: LazyLock<Observed> = LazyLock::new(|| {
    let observed = Observed::of_all_flows(&mut bookinfo(Backend::Nft, Family::V4));
    observed.holds();
    observed
});

/// A flow of the run with its window changed.
fn judged(flow: &str, change: impl FnOnce(&mut Window)) -> Observed {
    RECORDED.changed_in_turn(flow, change)
}

/// Judges one copy per packet that `change` takes. The verdict must be Refuted, by words that name the pod's trace.
fn each_packet(flow: &str, change: impl Fn(&mut TracedPacket) -> bool) {
    let mut changed = 0;
    for (pod, trace) in &RECORDED.window(flow).traces {
        for at in 0..trace.packets.len() {
            let mut packet = trace.packets[at].clone();
            if !change(&mut packet) {
                continue;
            }
            changed += 1;
            let observed = judged(flow, |window| {
                let trace = window.traces.get_mut(pod).expect("as recorded");
                trace.packets[at] = packet;
            });
            observed
                .is(Verdict::Refuted)
                .contradicted(&format!("trace {pod}"));
        }
    }
    assert!(changed > 0, "no packet of {flow} was changed");
}

/// A test per kind of flow.
macro_rules! each_flow {
    ($(fn $name:ident($flow:ident) $body:block)*) => {
        $(
            #[rstest]
            fn $name(
                #[values(
                    "ingress-reviews-v2",
                    "outside-to-reviews",
                    "app-to-outside",
                    "probe-15021",
                    "app-to-own-ip",
                    "proxy-to-own-ip",
                    "uid-1337-to-pod",
                    "outside-to-15001",
                    "inside-to-15006"
                )]
                $flow: &str,
            ) $body
        )*
    };
}

each_flow! {
    fn an_untouched_copy_holds(flow) {
        judged(flow, |_| {}).holds();
    }

    fn without_a_pods_trace_the_verdict_is_unproven_and_names_it(flow) {
        for (pod, trace) in &RECORDED.window(flow).traces {
            if trace.packets.is_empty() {
                continue;
            }
            let observed = judged(flow, |window| drop(window.traces.remove(pod)));
            observed.is(Verdict::Unproven).missed(&format!("the trace of {pod}"));
        }
    }

    fn with_any_one_packet_withheld_the_verdict_is_not_holds_and_its_pod_is_named(flow) {
        for (pod, trace) in &RECORDED.window(flow).traces {
            for at in 0..trace.packets.len() {
                let observed = judged(flow, |window| {
                    let trace = window.traces.get_mut(pod).expect("as recorded");
                    trace.packets.remove(at);
                });
                assert_ne!(observed.judgement.verdict, Verdict::Holds, "{observed}");
                observed.missed(&format!("trace {pod}"));
            }
        }
    }

    fn with_any_one_rule_of_another_place_the_verdict_is_refuted(flow) {
        each_packet(flow, |packet| {
            let place = packet.stations.iter_mut().flat_map(|it| &mut it.steps).find_map(|step| {
                match step {
                    Step::Rule { place, .. } => Some(place),
                    _ => None,
                }
            });
            match place.map(|it| &mut it.ordinal) {
                Some(Ordinal::Known(place)) => { *place += 1; true }
                _ => false,
            }
        });
    }

    fn with_any_one_rule_that_is_not_told_the_verdict_is_refuted(flow) {
        each_packet(flow, |packet| {
            let before = packet.rules().count();
            for station in &mut packet.stations {
                if station.steps.iter().any(|it| matches!(it, Step::Rule { .. })) {
                    station.steps.clear();
                }
            }
            packet.rules().count() != before
        });
    }

    fn with_any_one_packet_dropped_the_verdict_is_refuted(flow) {
        each_packet(flow, |packet| {
            let steps = packet.stations.iter_mut().flat_map(|it| &mut it.steps);
            let last = steps.last().map(|step| match step {
                Step::Rule { verdict, .. } | Step::Policy { verdict, .. } => *verdict = OfRule::Drop,
                Step::End { .. } => {}
            });
            last.is_some() && packet.dropped().is_some()
        });
    }

    fn with_any_one_destination_elsewhere_the_verdict_is_refuted(flow) {
        let most = RECORDED.window(flow).traces.values().flat_map(|it| &it.packets);
        let most = most.map(|it| it.stations.len()).max().expect("packets");
        for station in 0..most {
            each_packet(flow, |packet| match packet.stations.get_mut(station) {
                Some(station) => { station.header.destination = [192, 0, 2, 1].into(); true }
                None => false,
            });
        }
    }

    fn with_any_one_source_elsewhere_the_verdict_is_refuted(flow) {
        let most = RECORDED.window(flow).traces.values().flat_map(|it| &it.packets);
        let most = most.map(|it| it.stations.len()).max().expect("packets");
        for station in 0..most {
            each_packet(flow, |packet| match packet.stations.get_mut(station) {
                Some(station) => { station.header.source = [192, 0, 2, 1].into(); true }
                None => false,
            });
        }
    }

    fn with_any_one_entry_of_another_id_the_verdict_is_refuted(flow) {
        each_packet(flow, |packet| match &mut packet.conntrack {
            Some(entry) => { entry.id ^= u32::MAX; true }
            None => false,
        });
    }

    fn with_a_stray_packet_the_verdict_is_refuted(flow) {
        for pod in RECORDED.window(flow).traces.keys() {
            let observed = judged(flow, |window| {
                let packets = window.traces.values().flat_map(|it| &it.packets);
                let mut stray = packets.clone().next().expect("a traced flow").clone();
                stray.conntrack = None;
                for station in &mut stray.stations {
                    station.steps.clear();
                    station.header.destination = [192, 0, 2, 1].into();
                }
                window.traces.get_mut(pod).expect("as recorded").packets.push(stray);
            });
            let words = format!("trace {pod}: wanted no packet but the flow's own");
            observed.is(Verdict::Refuted).contradicted(&words);
        }
    }
}

#[rstest]
fn a_socket_of_another_user_is_a_finding_that_names_trace_and_log(
    #[values("app-to-own-ip", "uid-1337-to-pod", "ingress-reviews-v2")] flow: &str,
) {
    let mut changed = 0;
    for (pod, trace) in &RECORDED.window(flow).traces {
        for at in 0..trace.packets.len() {
            let Owner::Socket { uid, gid } = trace.packets[at].owner else {
                continue;
            };
            // An answer has the owner of the socket that was called; that is nobody's claim.
            if trace.packets[at].first().tcp.is_none_or(|tcp| !tcp.opens()) {
                continue;
            }
            changed += 1;
            let observed = judged(flow, |window| {
                let trace = window.traces.get_mut(pod).expect("as recorded");
                trace.packets[at].owner = Owner::Socket { uid: uid + 1, gid };
            });
            let words = format!("trace {pod} and log {pod}/");
            observed.is(Verdict::Refuted).contradicted(&words);
        }
    }
    assert!(changed > 0, "no socket of {flow} was seen");
}

#[test]
fn a_rule_that_counted_more_than_it_matched_is_a_finding_that_names_counters_and_trace() {
    let flow = "outside-to-reviews";
    let observed = judged(flow, |window| {
        let trace = window.traces.get_mut("reviews-v1").expect("as recorded");
        for station in trace.packets.iter_mut().flat_map(|it| &mut it.stations) {
            station.steps.clear();
        }
    });
    let words = "trace reviews-v1 and counters reviews-v1 disagree: PREROUTING 1 matched 0 packets, it counted 1";
    observed.is(Verdict::Refuted).contradicted(words);
    observed.contradicted("trace reviews-v1 and model disagree: the first packet");
}

/// Where two connections to different services are redirected to one port, nat gives the second another source port if
/// they have the same. Here it is put into the evidence: what happens by chance can't be waited for.
#[rstest]
#[case::outbound("app-to-outside", "details-v1", "127.0.0.1:15001", false)]
#[case::inbound("outside-to-reviews", "reviews-v1", "10.77.0.13:15006", true)]
fn a_source_port_that_nat_had_to_change_is_no_finding(
    #[case] flow: &str,
    #[case] pod: &str,
    #[case] listener: SocketAddr,
    #[case] is_inbound: bool,
) {
    let change = |window: &mut Window, in_answers: bool| {
        let entries = window.conntrack.get_mut(pod).expect("as recorded");
        let entry = entries.iter_mut().find(|it| it.reply.src == listener);
        let entry = entry.expect("it was redirected");
        let was = entry.reply.dst;
        let is = SocketAddr::new(was.ip(), was.port() ^ 1);
        entry.reply.dst = is;
        let accepts = window
            .records
            .iter_mut()
            .filter_map(|it| match &mut it.event {
                Event::Accept { peer, local, .. } if *local == listener => Some(peer),
                _ => None,
            });
        accepts.for_each(|peer| *peer = is);
        let trace = window.traces.get_mut(pod).expect("as recorded");
        for station in trace.packets.iter_mut().flat_map(|it| &mut it.stations) {
            let header = &mut station.header;
            let (from, to) = (header.source_end(), header.destination_end());
            // nat turns the source where it stands last, the answer's destination where it stands first.
            let (source, destination) = ((was, listener), (listener, was));
            let is_turned = match station.hook {
                Hook::Output => (from, to) == destination && station.priority <= -100 && in_answers,
                Hook::Postrouting => (from, to) == source && station.priority > 100,
                Hook::Input if is_inbound => (from, to) == source && station.priority > 100,
                Hook::Prerouting | Hook::Input => (from, to) == source && !is_inbound,
                Hook::Forward => false,
            };
            match is_turned {
                true if station.hook == Hook::Output => header.destination_port = Some(is.port()),
                true => header.source_port = Some(is.port()),
                false => {}
            }
        }
    };
    judged(flow, |window| change(window, true)).holds();
    let observed = judged(flow, |window| change(window, false));
    observed
        .is(Verdict::Refuted)
        .contradicted(&format!("trace {pod}"));
}

/// What a trace with a gap does not show may have happened; it accuses nobody. One without a gap does, whoever else lost
/// something.
#[rstest]
#[case::with_the_gap("reviews-v1", Verdict::Unproven)]
#[case::beside_the_gap("client", Verdict::Refuted)]
fn what_was_lost_of_a_trace_is_unproven_and_named(#[case] pod: &str, #[case] verdict: Verdict) {
    let lost = || Loss {
        of: Observer::Trace,
        pod: pod.into(),
        what: "1 overruns (ENOBUFS)".into(),
    };
    let words = format!("the trace of {pod}: 1 overruns (ENOBUFS)");
    let flow = "outside-to-reviews";
    let whole = judged(flow, |window| window.lost.push(lost()));
    whole.is(Verdict::Unproven).missed(&words);
    let with_a_hole = judged(flow, |window| {
        window.lost.push(lost());
        let trace = window.traces.get_mut("reviews-v1").expect("as recorded");
        for packet in &mut trace.packets {
            packet.stations.truncate(2);
        }
    });
    with_a_hole.is(verdict).missed(&words);
}

#[test]
fn every_connection_has_two_kinds_of_witnesses_and_most_have_four() {
    let hops = RECORDED.judgement.hops;
    assert_eq!(hops.by_two, hops.connections, "{hops:?}");
    assert!(hops.by_four * 2 > hops.connections, "{hops:?}");
}

fn traced(backend: Backend, family: Family, tracing: Tracing) -> Lab {
    let options = Options {
        backend: BackendChoice::Fixed(backend),
        families: family.into(),
        tracing,
        ..Options::default()
    };
    up(bookinfo_file(), options)
}

#[rstest]
fn with_every_packet_traced_the_run_holds_and_all_tables_are_compared(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let mut lab = traced(backend, family, Tracing::All);
    let observed = Observed::of_all_flows(&mut lab);
    observed.holds();
    assert!(observed.judgement.traced > RECORDED.judgement.traced);
}

/// Fewer witnesses, and no complaint.
#[rstest]
fn without_a_trace_the_run_holds_by_the_other_witnesses() {
    let mut lab = traced(Backend::Nft, Family::V4, Tracing::Off);
    let observed = Observed::of_all_flows(&mut lab);
    observed.holds();
    assert_eq!(observed.judgement.traced, 0);
    let hops = observed.judgement.hops;
    assert!(hops.by_four < RECORDED.judgement.hops.by_four, "{hops:?}");
}
