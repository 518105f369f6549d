//! Any bytes as a rule file: read or refused, and what is read is rendered to text that reads back the same.
#![no_main]

use hoplab::rules::{Family, parse, to_restore, to_save};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for family in [Family::V4, Family::V6] {
        match parse(&text, family, "fuzz") {
            Err(error) => _ = error.to_string(),
            Ok(rules) => {
                let bare = rules.without_counters();
                let again = parse(&to_restore(&rules), family, "rendered");
                assert_eq!(again.as_ref(), Ok(&bare));
                let saved = parse(&to_save(&rules), family, "saved");
                assert_eq!(saved.map(|it| it.without_counters()), Ok(bare));
            }
        }
    }
});
