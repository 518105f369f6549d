//! Snapshots as text.

use super::*;
use crate::behaviour::{Entry, Snapshot, Verified};

#[test]
fn a_snapshot_reads_as_it_is_written() {
    let rules = profile("istio-tproxy");
    let (stage, choice) = chosen(&rules, &rules);
    let entries = choice.flows.iter().map(|flow| {
        let ran = obedient(course(&rules, &stage, flow));
        Entry::of(&rules, flow, &ran)
    });
    let snapshot = Snapshot {
        stage,
        entries: entries.collect(),
    };
    let text = snapshot.text(&["a remark".to_owned()]);
    assert_eq!(Snapshot::read(&text, "a test"), Ok(snapshot), "{text}");
}

#[test]
fn a_rule_more_that_changes_nothing_changes_no_snapshot() {
    let before = subject(
        "before",
        "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    let after = subject(
        "after",
        "*nat\n-A OUTPUT -p tcp -m comment --comment counted\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    let (stage, choice) = chosen(&before, &after);
    for flow in &choice.flows {
        let entry = |of: &Subject| Entry::of(of, flow, &obedient(course(of, &stage, flow)));
        assert_eq!(
            entry(&before).verify(&entry(&after)),
            Verified::Same,
            "{flow}"
        );
    }
}
