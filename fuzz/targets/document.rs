//! Any bytes as a text with rules somewhere in it.
#![no_main]

use hoplab::rules::{Family, annotated, read, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Ok(document) = read(&text, "fuzz", Family::V4) else {
        return;
    };
    for dump in &document.dumps {
        match &dump.rules {
            Err(error) => _ = error.to_string(),
            Ok(rules) => _ = (annotated(rules), to_json(rules)),
        }
    }
    let _ = document.rules();
});
