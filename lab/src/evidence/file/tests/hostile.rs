//! Whatever a file holds: no panic, and no end that is not one.

use std::io::{BufReader, Read, repeat};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{SHOP, lines, recorded, text};
use crate::{
    evidence::file::read,
    judge, path,
    report::{self, Detail, Run},
};

/// Reads, judges and reports what can be read.
pub(super) fn all_of_it(text: &[u8]) {
    let recorded = match read(text, "hostile") {
        Ok(recorded) => recorded,
        Err(error) => {
            let _ = crate::failure::Failure::from(error).to_string();
            return;
        }
    };
    let Ok(judgement) = judge::judge(&recorded.file, &recorded.evidence) else {
        return;
    };
    let run = Run {
        topology: &recorded.file.topology,
        evidence: &recorded.evidence,
        judgement: &judgement,
        down: recorded.down.as_ref(),
        took_us: recorded.took_us,
    };
    let _ = report::summary(&run, Detail::Verbose);
    let _ = report::counters(&recorded.evidence);
    let _ = report::junit(&recorded.evidence.lab, &judgement);
    let _ = serde_json::to_string(&judgement);
    for window in &recorded.evidence.windows {
        let Some(flow) = recorded.file.topology.flow(&window.flow) else {
            continue;
        };
        let Ok(path) = path::of_window(&recorded.file, &recorded.evidence, window, flow) else {
            continue;
        };
        let _ = report::path_text(&path, Detail::Verbose);
        let _ = report::golden(&path);
        let _ = serde_json::to_string(&path);
    }
}

/// Every place in a value, depth first.
pub(super) fn places(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(map) => map.values_mut().flat_map(places).collect(),
        Value::Array(all) => all.iter_mut().flat_map(places).collect(),
        leaf => vec![leaf],
    }
}

pub(super) fn anything() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "shop",
        "client",
        "node",
        "ipv6",
        "tcp",
        "udp",
        "proxy",
        "0.0.0.0:0",
        "[::]:65535",
        "127.0.0.6:1",
        "10.77.0.11:9080",
        "10.77.0.11:15006",
        "127.0.0.1:15001",
        "kind",
        "* nat\n-A OUTPUT -j OUTPUT\nCOMMIT\n",
        "* nat\n-N A\n-A OUTPUT -j A\n-A A -j A\nCOMMIT\n",
        "ECONNREFUSED",
        "\u{0}\u{1b}[31m",
    ];
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::from(u32::MAX)),
            Just(u64::MAX),
            any::<u64>()
        ]
        .prop_map(Value::from),
        Just(json!(-1)),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        all_of_it(&bytes);
    }

    #[test]
    fn any_bytes_in_a_real_file_are_read_or_refused(
        at in any::<Index>(), length in 0..20_usize, bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut file = SHOP.as_bytes().to_vec();
        let at = at.index(file.len());
        let end = (at + length).min(file.len());
        file.splice(at..end, bytes);
        all_of_it(&file);
    }

    #[test]
    fn any_values_in_a_real_file_are_judged_or_refused(
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), anything()), 1..4),
    ) {
        let mut lines = lines();
        for (line, place, value) in changes {
            let line = line.index(lines.len());
            let mut places = places(&mut lines[line]);
            let place = place.index(places.len());
            *places[place] = value;
        }
        all_of_it(text(&lines).as_bytes());
    }

    #[test]
    fn any_order_of_lines_is_judged_or_refused(
        swaps in prop::collection::vec((any::<Index>(), any::<Index>()), 1..4),
    ) {
        let mut lines = lines();
        for (one, other) in swaps {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        all_of_it(text(&lines).as_bytes());
    }
}

/// As large as they get: sums must not overflow.
#[test]
fn counters_at_their_limit_are_judged() {
    let mut lines = lines();
    for line in &mut lines {
        let read = [line["kind"] == "counters", line["kind"] == "conntrack"];
        for leaf in places(line)
            .into_iter()
            .filter(|it| it.is_u64() && read != [false; 2])
        {
            if leaf.as_u64() != Some(0) || read[0] {
                *leaf = json!(u64::MAX);
            }
        }
    }
    let text = text(&lines).replace(&format!("\"id\":{}", u64::MAX), "\"id\":7");
    let text = text.replace(&format!("\"status\":{}", u64::MAX), "\"status\":0");
    assert!(recorded(&text).is_ok());
    all_of_it(text.as_bytes());
}

#[test]
fn a_line_without_an_end_is_not_read_to_its_end() {
    let endless = SHOP.as_bytes().chain(repeat(b' '));
    let error = read(BufReader::new(endless), "endless").expect_err("it never ends");
    let words = error.to_string();
    assert!(
        words.contains("a line is longer than 8388608 bytes"),
        "{words}"
    );
}

#[test]
fn values_within_values_do_not_exhaust_the_stack() {
    let header = SHOP.lines().next().expect("a header");
    let nested = "[".repeat(1 << 20);
    let deep = format!("{header}\n{{\"kind\":\"lost\",\"what\":{nested}\n");
    let error = recorded(&deep).expect_err("it is no value");
    assert!(
        error
            .to_string()
            .contains("line 2: recursion limit exceeded"),
        "{error}"
    );
}
