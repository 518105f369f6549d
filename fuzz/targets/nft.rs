//! Any bytes as a rule, and as a text, of nft; every view of what is read can be written.
#![no_main]

use hoplab::rules::{Family, annotated, read, to_json, to_save};
use libfuzzer_sys::fuzz_target;

const HEAD: &str = "add table inet t\nadd chain inet t sub\nadd chain inet t c { type nat hook output priority 0 ; }\n";

fuzz_target!(|bytes: &[u8]| {
    let bytes = String::from_utf8_lossy(bytes);
    for text in [bytes.to_string(), format!("{HEAD}add rule inet t c {bytes}")] {
        let Ok(Ok(sets)) = read(&text, "fuzz", Family::V4).map(|it| it.rules()) else {
            continue;
        };
        for set in &sets {
            let _ = (annotated(set), to_json(set), to_save(set));
        }
    }
});
