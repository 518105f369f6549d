//! Trace lines that someone changed, thinned out or cut off: an error with its line, or a verdict that does not hold where
//! what was taken away was needed.

use proptest::{prelude::*, sample::Index};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    SHOP,
    hostile::{all_of_it, anything, places},
    judged, lines, recorded, text,
};
use crate::judge::Verdict;

/// Trace lines with packets, as places among the lines.
fn traced() -> Vec<usize> {
    let lines = lines();
    let is = |at: &usize| {
        let packets = lines[*at]["packets"].as_array();
        packets.is_some_and(|it| !it.is_empty())
    };
    (0..lines.len()).filter(is).collect()
}

/// The verdict on the file with one line changed; none where it is refused.
fn verdict(at: usize, change: impl FnOnce(&mut Value)) -> Option<Verdict> {
    let mut lines = lines();
    change(&mut lines[at]);
    let recorded = recorded(&text(&lines)).ok()?;
    Some(judged(&recorded).verdict)
}

/// Lists below a value, by JSON pointer, with their length.
fn lists(value: &Value, at: &str, named: &str, found: &mut Vec<(String, usize)>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let here = format!("{at}/{key}");
                if let (true, Some(list)) = (key == named, inner.as_array()) {
                    found.push((here.clone(), list.len()));
                }
                lists(inner, &here, named, found);
            }
        }
        Value::Array(all) => {
            for (n, inner) in all.iter().enumerate() {
                lists(inner, &format!("{at}/{n}"), named, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_recorded_run_has_traces() {
    assert!(traced().len() >= 4, "{:?}", traced());
}

#[rstest]
#[case::packets("packets")]
#[case::rules("steps")]
fn without_any_one_of_what_was_traced_the_run_does_not_hold(#[case] named: &str) {
    let mut taken = 0;
    for at in traced() {
        let line = &lines()[at];
        let mut found = Vec::new();
        lists(line, "", named, &mut found);
        for (pointer, length) in found {
            for n in 0..length {
                let of_rule = |it: &Value| it["step"] == "rule" || named == "packets";
                let one = line
                    .pointer(&format!("{pointer}/{n}"))
                    .expect("such a value");
                // The end of a chain says nothing that its rules and the packet's way do not.
                if !of_rule(one) {
                    continue;
                }
                taken += 1;
                let verdict = verdict(at, |line| {
                    let list = line.pointer_mut(&pointer).and_then(Value::as_array_mut);
                    list.expect("a list").remove(n);
                });
                assert_ne!(
                    verdict,
                    Some(Verdict::Holds),
                    "line {}: {pointer}/{n}",
                    at + 1
                );
            }
        }
    }
    assert!(taken > 5, "{taken}");
}

#[test]
fn without_any_one_line_of_a_trace_the_run_does_not_hold() {
    for at in traced() {
        let mut lines = lines();
        lines.remove(at);
        let recorded = recorded(&text(&lines)).expect("a trace is no line that others need");
        assert_eq!(
            judged(&recorded).verdict,
            Verdict::Unproven,
            "line {}",
            at + 1
        );
    }
}

#[rstest]
#[case::another_pod("/pod", json!("till"), "no pod `till` came up")]
#[case::no_pod("/pod", json!(null), "line 18")]
#[case::packets_that_are_none("/packets", json!(7), "line 18")]
#[case::an_address("/packets/0/stations/0/header/source", json!("10.77.0.256"), "line 18")]
#[case::a_port("/packets/0/stations/0/header/source-port", json!(65536), "line 18")]
#[case::a_hook("/packets/0/stations/0/hook", json!("sideways"), "unknown variant `sideways`")]
#[case::a_family("/packets/0/stations/0/chain/family", json!("ipx"), "line 18")]
#[case::a_packet_without_a_station("/packets/0/stations", json!([]), "")]
fn a_trace_that_cannot_be_is_refused_with_its_line(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] words: &str,
) {
    let mut lines = lines();
    *lines[17].pointer_mut(pointer).expect("such a value") = value;
    match recorded(&text(&lines)) {
        Ok(recorded) => {
            assert_eq!(words, "", "it was read");
            assert_ne!(judged(&recorded).verdict, Verdict::Holds);
        }
        Err(error) => {
            let said = crate::failure::Failure::from(error).to_string();
            assert!(said.contains("line 18") && said.contains(words), "{said}");
        }
    }
}

/// Fields that a verdict stands on; any other value there is another packet, another rule or another connection.
const NEEDED: [&str; 6] = [
    "source",
    "destination",
    "source-port",
    "destination-port",
    "hook",
    "known",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_value_in_a_trace_is_judged_and_explained_or_refused(
        line in any::<Index>(), place in any::<Index>(), value in anything(),
    ) {
        let traced = traced();
        let mut lines = lines();
        let at = traced[line.index(traced.len())];
        let mut places = places(&mut lines[at]);
        let place = place.index(places.len());
        *places[place] = value;
        all_of_it(text(&lines).as_bytes());
    }

    #[test]
    fn a_trace_that_is_cut_off_at_any_byte_does_not_hold(line in any::<Index>(), byte in any::<Index>()) {
        let traced = traced();
        let at = traced[line.index(traced.len())];
        let start: usize = SHOP.split_inclusive('\n').take(at).map(str::len).sum();
        let length = SHOP.split_inclusive('\n').nth(at).map_or(0, str::len);
        let cut = &SHOP[..start + byte.index(length)];
        all_of_it(cut.as_bytes());
        let recorded = recorded(cut).expect("the lab was up before");
        prop_assert_eq!(judged(&recorded).verdict, Verdict::Unproven);
        prop_assert!(recorded.evidence.cut.is_some());
    }

    #[test]
    fn a_needed_field_with_another_value_does_not_hold(
        line in any::<Index>(), place in any::<Index>(), field in prop::sample::select(NEEDED.to_vec()),
    ) {
        let traced = traced();
        let at = traced[line.index(traced.len())];
        let verdict = verdict(at, |line| {
            let mut found = Vec::new();
            fields(line, field, &mut found);
            let count = found.len();
            if count > 0 {
                let value = &mut found[place.index(count)];
                **value = other(value);
            }
        });
        // A line without the field is as it was.
        let mut line = lines().swap_remove(at);
        let mut there = Vec::new();
        fields(&mut line, field, &mut there);
        prop_assert!(there.is_empty() || verdict != Some(Verdict::Holds), "line {}: {field}", at + 1);
    }
}

/// Every field of this name.
fn fields<'v>(value: &'v mut Value, named: &str, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                // A station's `source` is a word for who told; that of a header is an address.
                let told = inner == "observer" || inner == "nft-trace";
                match key == named && (inner.is_number() || inner.is_string()) && !told {
                    true => found.push(inner),
                    false => fields(inner, named, found),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|it| fields(it, named, found)),
        _ => {}
    }
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value.as_str() {
        None => json!(value.as_u64().map_or(1, |it| it ^ 1)),
        Some("prerouting") => json!("output"),
        Some(word) if word.parse::<std::net::IpAddr>().is_ok() => json!("192.0.2.1"),
        Some(_) => json!("prerouting"),
    }
}
