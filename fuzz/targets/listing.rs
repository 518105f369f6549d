//! Any bytes as rows of a listing; what is read is a rule set that renders and reads back the same.
#![no_main]

use hoplab::rules::{Family, parse, read, to_restore};
use libfuzzer_sys::fuzz_target;

const HEAD: &str = "\
# iptables -t nat -L -v
Chain SUB (1 references)
 pkts bytes target     prot opt in     out     source               destination         
";

fuzz_target!(|bytes: &[u8]| {
    let text = HEAD.to_owned() + &String::from_utf8_lossy(bytes);
    let Ok(Ok(sets)) = read(&text, "fuzz", Family::V4).map(|it| it.rules()) else {
        return;
    };
    for set in sets {
        let text = to_restore(&set);
        let again = parse(&text, set.family, "rendered");
        let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, set.without_counters(), "{text}");
    }
});
