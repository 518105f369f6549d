//! Any bytes as an evidence file, read, judged and reported.
#![no_main]

use hoplab::{
    evidence::file::read,
    failure::Failure,
    judge::judge,
    report::{Detail, Run, counters, junit, summary},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let recorded = match read(bytes, "fuzz") {
        Ok(recorded) => recorded,
        Err(error) => {
            _ = Failure::from(error).to_string();
            return;
        }
    };
    let Ok(judgement) = judge(&recorded.file, &recorded.evidence) else {
        return;
    };
    let run = Run {
        topology: &recorded.file.topology,
        evidence: &recorded.evidence,
        judgement: &judgement,
        down: recorded.down.as_ref(),
        took_us: recorded.took_us,
    };
    _ = summary(&run, Detail::Verbose);
    _ = counters(&recorded.evidence);
    _ = junit(&recorded.evidence.lab, &judgement);
});
