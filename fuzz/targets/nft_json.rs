//! Any bytes as the expressions of a rule in nft's JSON, and as all of it.
#![no_main]

use hoplab::rules::{Family, annotated, read, to_json, to_save};
use libfuzzer_sys::fuzz_target;

const HEAD: &str = r#"{"nftables": [{"table": {"family": "inet", "name": "t"}}, {"chain": {"family": "inet",
    "table": "t", "name": "c", "type": "nat", "hook": "output", "prio": 0}}, "#;
const RULE: &str = r#"{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": ["#;

fuzz_target!(|bytes: &[u8]| {
    let bytes = String::from_utf8_lossy(bytes);
    for text in [format!("{HEAD}{bytes}"), format!("{HEAD}{RULE}{bytes}]}}}}]}}")] {
        let Ok(Ok(sets)) = read(&text, "fuzz", Family::V4).map(|it| it.rules()) else {
            continue;
        };
        for set in &sets {
            let _ = (annotated(set), to_json(set), to_save(set));
        }
    }
});
