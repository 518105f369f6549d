use super::*;

/// The packet counts of the seed's `iptables -L -v`, chain by chain; ISTIO_OUTPUT's caller is shown as 138K there,
/// and its rows sum to 137543.
const SEED: [(&str, &[u64]); 6] = [
    ("PREROUTING", &[85_873]),
    ("OUTPUT", &[137_543]),
    ("ISTIO_INBOUND", &[0, 0, 85_820, 1, 52]),
    ("ISTIO_IN_REDIRECT", &[52]),
    ("ISTIO_OUTPUT", &[61, 0, 22_906, 57_374, 0, 0, 0, 0, 57_202]),
    ("ISTIO_REDIRECT", &[57_202]),
];

fn counted(set: &RuleSet, counts: &[(&str, &[u64])]) -> RuleSet {
    let mut set = set.clone();
    let table = set.tables.get_mut(&Table::Nat).expect("nat is there");
    for (chain, packets) in counts {
        let rules = &mut table.chain_mut(chain).expect("the chain is there").rules;
        assert_eq!(rules.len(), packets.len());
        for (rule, packets) in rules.iter_mut().zip(*packets) {
            rule.counters = Some(Counter {
                packets: *packets,
                bytes: packets * 60,
            });
        }
    }
    set
}

fn snapshot(set: &RuleSet) -> CounterSnapshot {
    CounterSnapshot::new(set).expect("every rule is counted")
}

fn seed_delta(change: Option<(&str, usize, u64)>) -> CounterDelta {
    let set = istio(Family::V4);
    let now = snapshot(&counted(&set, &SEED));
    let mut zero = now.clone();
    zero.rules
        .values_mut()
        .for_each(|it| *it = Counter::default());
    let mut changed = now;
    if let Some((chain, ordinal, packets)) = change {
        let rule = v4(chain, u32::try_from(ordinal).expect("ordinals are small"));
        changed.rules.insert(
            rule,
            Counter {
                packets,
                bytes: packets * 60,
            },
        );
    }
    changed.since(&zero).expect("the rules are the same")
}

fn complaints(change: (&str, usize, u64)) -> Vec<String> {
    let found = conservation(&istio(Family::V4), &seed_delta(Some(change)));
    found.iter().map(Imbalance::to_string).collect()
}

#[test]
fn the_production_listing_is_conserved() {
    assert_eq!(conservation(&istio(Family::V4), &seed_delta(None)), []);
}

#[test]
fn a_lost_packet_is_missed_at_the_rule_that_takes_the_rest() {
    assert_eq!(
        complaints(("ISTIO_INBOUND", 3, 85_819)),
        [
            "nat ISTIO_INBOUND 5 counted 52 of the 85873 packets that entered ISTIO_INBOUND, expected 53"
        ]
    );
    assert_eq!(
        complaints(("ISTIO_REDIRECT", 1, 57_201)),
        [
            "nat ISTIO_REDIRECT 1 counted 57201 of the 57202 packets that entered ISTIO_REDIRECT, expected 57202"
        ]
    );
}

#[test]
fn a_packet_from_nowhere_is_noticed() {
    assert_eq!(
        complaints(("ISTIO_OUTPUT", 8, 60_000)),
        [
            "nat ISTIO_OUTPUT 8 counted 60000 of the 137543 packets that entered ISTIO_OUTPUT, expected 0 to 57202"
        ]
    );
}

#[test]
fn changing_any_one_count_by_one_is_noticed() {
    for (chain, counts) in SEED {
        for (index, packets) in counts.iter().enumerate() {
            assert_ne!(
                complaints((chain, index + 1, packets + 1)),
                [""; 0],
                "{chain} {}",
                index + 1
            );
        }
    }
}

#[test]
fn a_chain_that_may_return_leaves_its_caller_a_range() {
    let text = "-N TOP\n-A OUTPUT -j TOP\n-A TOP -j SUB\n-A TOP -j RETURN\n-A SUB -p tcp -j REDIRECT --to-ports 1\n";
    let set = nat(text).unwrap_or_else(|error| panic!("{error}"));
    let check = |redirected, returned| {
        let counts: [(&str, &[u64]); 3] = [
            ("OUTPUT", &[10]),
            ("TOP", &[10, returned]),
            ("SUB", &[redirected]),
        ];
        let zero: [(&str, &[u64]); 3] = [("OUTPUT", &[0]), ("TOP", &[0, 0]), ("SUB", &[0])];
        let delta = snapshot(&counted(&set, &counts)).since(&snapshot(&counted(&set, &zero)));
        conservation(&set, &delta.expect("the rules are the same")).len()
    };
    assert_eq!([check(7, 3), check(0, 10), check(10, 0)], [0; 3]);
    assert_eq!([check(11, 0), check(0, 11)], [1; 2]);
}

#[test]
fn a_delta_lists_what_moved() {
    let delta = seed_delta(None);
    let moved: Vec<String> = delta.moved().map(|(rule, _)| rule.short()).collect();
    assert_eq!(moved.len(), 11);
    assert_eq!(
        delta.get(&v4("ISTIO_OUTPUT", 1)),
        Some(Counter {
            packets: 61,
            bytes: 3660
        })
    );
    assert_eq!(delta.get(&v4("ISTIO_OUTPUT", 10)), None);
}

#[test]
fn counters_of_other_rules_or_gone_back_have_no_delta() {
    let set = counted(&istio(Family::V4), &SEED);
    let less = snapshot(&set.without(&v4("ISTIO_OUTPUT", 8)));
    assert!(matches!(
        snapshot(&set).since(&less),
        Err(CounterError::OtherRules { .. })
    ));
    let mut back = SEED;
    back[3] = ("ISTIO_IN_REDIRECT", &[51]);
    let error = snapshot(&counted(&set, &back))
        .since(&snapshot(&set))
        .expect_err("51 is less than 52");
    assert_eq!(
        error.to_string(),
        "nat ISTIO_IN_REDIRECT 1 counted 52 packets, then 51"
    );
    let uncounted = CounterSnapshot::new(&istio(Family::V4));
    assert_eq!(
        uncounted,
        Err(CounterError::NotCounted(v4("PREROUTING", 1)))
    );
}

#[test]
fn counters_survive_a_dump() {
    let set = counted(&istio(Family::V4), &SEED);
    let again = parse(&to_save(&set), Family::V4, "dump").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(snapshot(&again), snapshot(&set));
}
