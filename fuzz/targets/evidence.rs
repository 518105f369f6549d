//! Any bytes as an evidence file, read, judged, reported, and each of its flows explained.
#![no_main]

use hoplab::{
    evidence::file::read,
    failure::Failure,
    judge::judge,
    path::of_window,
    report::{Detail, Run, counters, golden, junit, path_text, summary},
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
    for window in &recorded.evidence.windows {
        let flow = recorded.file.topology.flow(&window.flow);
        let path = flow.map(|it| of_window(&recorded.file, &recorded.evidence, window, it));
        if let Some(Ok(path)) = path {
            _ = path_text(&path, Detail::Verbose);
            _ = golden(&path);
        }
    }
});
