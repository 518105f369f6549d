//! Any bytes after the command `iptables -t nat -S`; what is read is written as commands that read back the same.
#![no_main]

use hoplab::rules::{Family, read, to_commands};
use libfuzzer_sys::fuzz_target;

const HEAD: &str = "# iptables -t nat -S\n-P OUTPUT ACCEPT\n";

fuzz_target!(|bytes: &[u8]| {
    let text = HEAD.to_owned() + &String::from_utf8_lossy(bytes);
    let Ok(Ok(sets)) = read(&text, "fuzz", Family::V4).map(|it| it.rules()) else {
        return;
    };
    for set in sets {
        let program = match set.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        for table in set.tables.keys() {
            let head = format!("# {program} -t {table} -S\n");
            let text = head + &to_commands(&set, *table);
            let again = read(&text, "rendered", set.family).and_then(|it| it.rules());
            let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(again[0].tables[table], set.without_counters().tables[table], "{text}");
        }
    }
});
