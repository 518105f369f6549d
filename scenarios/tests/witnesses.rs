//! What the judge makes of evidence with a gap or a lie in it. Pure but for its start: one lab runs for the whole
//! file, and the tests judge changed copies of what it left behind.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

use hoplab::{
    evidence::{Loss, Observer, Quiet, Window},
    judge::Verdict,
};
use hoplab_proxies::{
    record::{ConnectResult, Event, OriginalDst, Record},
    wire::CallOutcome,
};
use hoplab_scenarios::{Backend, Family, Observed, bookinfo};
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

/// Of a pod that no other claim needs.
fn lost() -> Loss {
    Loss {
        of: Observer::Conntrack,
        pod: "ratings-v1".into(),
        what: "some events (ENOBUFS)".into(),
    }
}

/// A test per flow of the lab.
macro_rules! each_flow {
    ($(fn $name:ident($flow:ident) $body:block)*) => {
        $(
            #[rstest]
            fn $name(
                #[values(
                    "ingress-reviews-v1",
                    "ingress-reviews-v2",
                    "ingress-reviews-v3",
                    "outside-to-reviews",
                    "app-to-outside",
                    "probe-15021",
                    "probe-15020",
                    "probe-15090",
                    "probe-15008",
                    "app-to-own-ip",
                    "proxy-to-own-ip",
                    "app-to-localhost",
                    "proxy-to-localhost",
                    "gid-1337-to-pod",
                    "uid-1337-to-pod",
                    "outside-to-15001",
                    "outside-to-15006",
                    "inside-to-15001",
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

    fn with_any_one_record_withheld_the_verdict_is_unproven_and_names_it(flow) {
        let records = &RECORDED.window(flow).records;
        assert!(!records.is_empty());
        for (i, record) in records.iter().enumerate() {
            let observed = judged(flow, |window| drop(window.records.remove(i)));
            observed.is(Verdict::Unproven).missed(&name_of(record));
        }
    }

    fn with_any_one_conntrack_entry_withheld_the_verdict_is_unproven_and_names_it(flow) {
        for (pod, entries) in &RECORDED.window(flow).conntrack {
            for (i, entry) in entries.iter().enumerate() {
                let observed = judged(flow, |window| {
                    window.conntrack.get_mut(pod).expect("as recorded").remove(i);
                });
                let missing = format!("conntrack {pod}: missing an entry to {}", entry.original.dst);
                observed.is(Verdict::Unproven).missed(&missing);
            }
        }
    }

    fn without_a_pods_conntrack_table_the_verdict_is_unproven_and_names_it(flow) {
        for pod in RECORDED.window(flow).conntrack.keys() {
            let observed = judged(flow, |window| drop(window.conntrack.remove(pod)));
            observed.is(Verdict::Unproven).missed(&format!("conntrack {pod}: missing the table"));
        }
    }

    fn without_a_pods_counters_the_verdict_is_not_holds_and_they_are_named(flow) {
        for pod in RECORDED.window(flow).counters.keys() {
            let observed = judged(flow, |window| drop(window.counters.remove(pod)));
            assert_ne!(observed.judgement.verdict, Verdict::Holds, "{observed}");
            observed.missed(&format!("counters of {pod} around the flow"));
        }
    }

    fn with_events_lost_on_the_way_the_verdict_is_unproven_and_says_so(flow) {
        let observed = judged(flow, |window| window.lost.push(lost()));
        observed.is(Verdict::Unproven).missed("some events (ENOBUFS)");
    }

    fn with_a_connection_open_at_the_deadline_the_verdict_is_unproven_and_says_so(flow) {
        let open = || Quiet::Deadline(vec!["connection 7 opened by App of client".into()]);
        let observed = judged(flow, |window| window.quiet = open());
        observed.is(Verdict::Unproven).missed("connection 7 opened by App of client");
    }

    fn with_any_one_counter_off_by_one_the_verdict_is_refuted_and_names_the_rule(flow) {
        for (pod, read) in &RECORDED.window(flow).counters {
            for rule in read.after.rules.keys() {
                let observed = judged(flow, |window| {
                    let read = window.counters.get_mut(pod).expect("as recorded");
                    read.after.rules.get_mut(rule).expect("as recorded").packets += 1;
                });
                let words = format!("counters {pod}: wanted {} `", rule.short());
                observed.is(Verdict::Refuted).contradicted(&words);
            }
        }
    }

    fn with_any_one_socket_of_another_user_the_verdict_is_refuted(flow) {
        for_each_record(flow, |event| match event {
            Event::Connect { owner, .. } => {
                owner.uid += 1;
                Some("socket owner")
            }
            _ => None,
        });
    }

    fn with_any_one_connection_to_elsewhere_the_verdict_is_refuted(flow) {
        for_each_record(flow, |event| match event {
            Event::Connect { remote, .. } => {
                remote.set_port(remote.port() + 1);
                Some("no connection but the flow's own")
            }
            _ => None,
        });
    }

    fn with_any_one_connection_from_elsewhere_the_verdict_is_refuted(flow) {
        for_each_record(flow, |event| match event {
            Event::Connect { result: ConnectResult::Connected { local, .. }, .. } => {
                local.set_ip(elsewhere().ip());
                Some("")
            }
            _ => None,
        });
    }

    fn with_any_one_peer_from_elsewhere_the_verdict_is_refuted(flow) {
        for_each_record(flow, |event| match event {
            Event::Accept { peer, .. } => {
                peer.set_ip(elsewhere().ip());
                Some("no connection but the flow's own")
            }
            _ => None,
        });
    }

    fn with_any_one_other_original_destination_the_verdict_is_refuted(flow) {
        for_each_record(flow, |event| match event {
            Event::Accept { original_dst: original @ OriginalDst::Known(_), .. } => {
                *original = OriginalDst::Known(elsewhere());
                Some("original destination 192.0.2.1:1")
            }
            _ => None,
        });
    }

    fn with_any_one_connection_translated_elsewhere_the_verdict_is_refuted(flow) {
        for (pod, entries) in &RECORDED.window(flow).conntrack {
            for i in 0..entries.len() {
                let observed = judged(flow, |window| {
                    let entries = window.conntrack.get_mut(pod).expect("as recorded");
                    entries[i].reply.src = elsewhere();
                });
                observed.is(Verdict::Refuted).contradicted("answers come from 192.0.2.1:1");
            }
        }
    }

    fn with_another_answer_the_verdict_is_refuted(flow) {
        let observed = judged(flow, |window| {
            window.outcome = CallOutcome::Answer { status: 503, body: String::new() };
        });
        observed.is(Verdict::Refuted).contradicted("had 503");
    }

    fn with_a_conntrack_entry_nobody_explains_the_verdict_is_refuted(flow) {
        for pod in RECORDED.window(flow).conntrack.keys() {
            let observed = judged(flow, |window| {
                let entries = window.conntrack.values().flatten();
                let mut stray = entries.clone().next().expect("a tracked flow").clone();
                stray.id ^= u32::MAX;
                window.conntrack.get_mut(pod).expect("as recorded").push(stray);
            });
            let words = format!("conntrack {pod}: wanted no entry but the flow's own");
            observed.is(Verdict::Refuted).contradicted(&words);
        }
    }

    fn with_a_connection_nobody_asked_for_the_verdict_is_refuted(flow) {
        let observed = judged(flow, |window| {
            let mut stray = window.records[0].clone();
            stray.conn += 1_000_000;
            window.records.push(stray);
        });
        observed.is(Verdict::Refuted).contradicted("no connection but the flow's own");
    }
}

#[test]
fn with_any_one_record_of_the_whole_run_withheld_the_verdict_is_unproven() {
    for (flow, window) in RECORDED.evidence.windows.iter().enumerate() {
        for record in 0..window.records.len() {
            let mut evidence = RECORDED.evidence.clone();
            evidence.windows[flow].records.remove(record);
            Observed::judge(RECORDED.file.clone(), evidence).is(Verdict::Unproven);
        }
    }
}

/// Each pod has a 127.0.0.6 of its own, and the kernel may give the same port in all of them.
#[test]
fn the_same_loopback_address_in_two_pods_confuses_nobody() {
    let same = |address: &mut SocketAddr| {
        if address.ip() == Ipv4Addr::new(127, 0, 0, 6) {
            address.set_port(40_000);
        }
    };
    let observed = judged("ingress-reviews-v3", |window| {
        for record in &mut window.records {
            match &mut record.event {
                Event::Accept { peer, .. } => same(peer),
                Event::Connect {
                    result: ConnectResult::Connected { local, .. },
                    ..
                } => same(local),
                Event::Connect { .. } | Event::Close { .. } => {}
            }
        }
        for entry in window.conntrack.values_mut().flatten() {
            same(&mut entry.original.src);
            same(&mut entry.reply.dst);
        }
        let traces = window.traces.values_mut().flat_map(|it| &mut it.packets);
        for station in traces.flat_map(|it| &mut it.stations) {
            let header = &mut station.header;
            let (mut source, mut destination) = (header.source_end(), header.destination_end());
            same(&mut source);
            same(&mut destination);
            header.source_port = Some(source.port());
            header.destination_port = Some(destination.port());
        }
        // The logs of two processes arrive in any order.
        window.records.reverse();
    });
    observed.holds();
}

/// An address nobody has.
fn elsewhere() -> SocketAddr {
    "192.0.2.1:1".parse().expect("a literal")
}

/// Judges one copy per record that `change` takes: it changes the event and says what must be complained about.
fn for_each_record(flow: &str, change: impl Fn(&mut Event) -> Option<&'static str>) {
    let mut records = RECORDED.window(flow).records.clone();
    let mut changed = 0;
    for (i, record) in records.iter_mut().enumerate() {
        let Some(words) = change(&mut record.event) else {
            continue;
        };
        changed += 1;
        let observed = judged(flow, |window| window.records[i] = record.clone());
        observed.is(Verdict::Refuted).contradicted(words);
    }
    let refused = RECORDED.window(flow).records.len() == 1;
    assert!(changed > 0 || refused, "no record of {flow} was changed");
}

/// Words the judge must use for a record that is not there.
fn name_of(record: &Record) -> String {
    match &record.event {
        Event::Connect { remote, .. } => format!("missing the connect to {remote}"),
        Event::Accept { local, .. } => format!("missing the accept at {local}"),
        Event::Close { .. } => "missing the close of the connection".into(),
    }
}
