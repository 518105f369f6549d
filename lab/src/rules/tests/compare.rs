use super::*;

fn lines(a: &str, b: &str) -> Vec<String> {
    let read = |text| nat(text).unwrap_or_else(|error| panic!("{error}"));
    diff(&read(a), &read(b), &[Table::Nat])
        .iter()
        .map(Difference::to_string)
        .collect()
}

#[test]
fn differences_name_the_rule_and_its_text() {
    let meant =
        "-A OUTPUT -o a -j SUB\n-A OUTPUT -o b -j SUB\n-A OUTPUT -o c -j SUB\n-A SUB -j ACCEPT\n";
    let found = "-A OUTPUT -o c -j SUB\n-A OUTPUT -o a -j SUB\n-A OUTPUT -o d -j SUB\n-A SUB -j ACCEPT\n-N NEW\n";
    assert_eq!(
        lines(meant, found),
        [
            "moved nat OUTPUT 1 to 2: -A OUTPUT -o a -j SUB",
            "missing nat OUTPUT 2: -A OUTPUT -o b -j SUB",
            "extra nat OUTPUT 3: -A OUTPUT -o d -j SUB",
            "extra chain nat NEW",
        ]
    );
}

#[test]
fn builtin_chains_policies_and_counters_do_not_count() {
    assert_eq!(
        lines(
            ":OUTPUT DROP [1:60]\n[1:60] -A SUB -j ACCEPT\n",
            "-A SUB -j ACCEPT\n"
        ),
        [""; 0]
    );
}

#[test]
fn a_table_one_side_lacks_is_missing_rule_by_rule() {
    let (some, none) = (istio(Family::V4), RuleSet::empty(Family::V4));
    let differences = diff(&some, &none, &Table::ALL);
    let missing = differences
        .iter()
        .filter(|it| matches!(it, Difference::Missing { .. }))
        .count();
    assert_eq!((missing, differences.len()), (18, 18 + 4));
}

#[test]
fn expectations_find_their_rule_when_others_came_and_went() {
    let reference = istio(Family::V4);
    let mut applied = reference.without(&v4("ISTIO_OUTPUT", 3));
    let extra = Rule {
        spec: one("-o eth9 -j RETURN"),
        counters: None,
        rounded: None,
    };
    let nat = applied.tables.get_mut(&Table::Nat).expect("nat is there");
    nat.chain_or_new("ISTIO_OUTPUT").rules.insert(0, extra);
    let alignment = align(&reference, &applied);
    let at = |ordinal| {
        alignment
            .applied(&v4("ISTIO_OUTPUT", ordinal))
            .map(|id| id.ordinal)
    };
    assert_eq!(
        [at(1), at(2), at(3), at(4), at(9)],
        [Some(2), Some(3), None, Some(4), Some(9)]
    );
    assert_eq!(alignment.reference(&v4("ISTIO_OUTPUT", 1)), None);
    assert_eq!(
        alignment.reference(&v4("ISTIO_OUTPUT", 2)),
        Some(&v4("ISTIO_OUTPUT", 1))
    );
    assert_eq!(alignment.pairs().count(), 17);
}

#[test]
fn a_rule_in_other_words_at_its_place_is_the_same_rule_reworded() {
    let reference = istio(Family::V4);
    let mut applied = reference.clone();
    let nat = applied.tables.get_mut(&Table::Nat).expect("nat is there");
    let chain = nat.chain_or_new("ISTIO_OUTPUT");
    chain.rules[1].spec = one("-o lo -m owner --uid-owner 1337 -j SUB");
    chain.rules[8].spec = one("-p tcp -j SUB");
    let alignment = align(&reference, &applied);
    for ordinal in 1..=9 {
        let rule = v4("ISTIO_OUTPUT", ordinal);
        assert_eq!(alignment.applied(&rule), Some(&rule));
    }
    assert_eq!(alignment.pairs().count(), 18);
}
